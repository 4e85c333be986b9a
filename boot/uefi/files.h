/** Files on the file system that the loader came from. */
#pragma once

#include "efi.h"

struct file_content {
  uint8_t *bytes;
  size_t count;
};

/** `image`: this loader. False, and said, when there is no file system. */
bool files_begin(efi_handle image);

/**
 * Reads a whole file of at most `bytes_max`. `progress` is called after each part of it; may be
 * NULL. The memory is the caller's, to be given back with `files_free`.
 */
efi_status files_read(const char *path, size_t bytes_max, void (*progress)(void),
                      struct file_content *content);

void files_free(struct file_content *content);

/** Loads an image out of memory, as if from our file system. */
efi_status files_load_image(const struct file_content *content, efi_handle *image);
