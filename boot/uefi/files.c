#include "files.h"

#include "firmware.h"

static const efi_guid loaded_image_guid = EFI_LOADED_IMAGE_GUID;
static const efi_guid file_system_guid = EFI_SIMPLE_FILE_SYSTEM_GUID;
static const efi_guid device_path_guid = EFI_DEVICE_PATH_GUID;

enum { path_characters_max = 128, page_bytes = 4096 };
/** What is read between two calls of `progress`: a second of a slow medium. */
static const size_t part_bytes = 4 * 1024 * 1024;

static struct {
  efi_handle image;
  efi_handle device;
  efi_file *root;
} files;

bool files_begin(efi_handle image) {
  efi_loaded_image *loaded = NULL;
  efi_file_system *system = NULL;
  files.image = image;
  efi_status status = firmware_boot->handle_protocol(image, &loaded_image_guid, (void **)&loaded);
  if (efi_failed(status)) return false;
  files.device = loaded->device;
  status = firmware_boot->handle_protocol(files.device, &file_system_guid, (void **)&system);
  if (!efi_failed(status)) status = system->open_volume(system, &files.root);
  if (efi_failed(status)) say("no file system to load from (status %x)", status);
  return !efi_failed(status);
}

static efi_status open_file(const char *path, efi_file **file, size_t *bytes) {
  efi_char name[path_characters_max];
  size_t at = 0;
  for (; path[at] != 0 && at + 1 < path_characters_max; at += 1) name[at] = (efi_char)path[at];
  name[at] = 0;
  efi_status status = files.root->open(files.root, file, name, EFI_FILE_MODE_READ, 0);
  if (efi_failed(status)) return status;
  uint64_t end = 0;
  status = (*file)->set_position(*file, EFI_FILE_END);
  if (!efi_failed(status)) status = (*file)->get_position(*file, &end);
  if (!efi_failed(status)) status = (*file)->set_position(*file, 0);
  if (efi_failed(status)) (*file)->close(*file);
  *bytes = (size_t)end;
  return status;
}

static size_t pages_of(size_t bytes) { return (bytes + page_bytes - 1) / page_bytes; }

static efi_status read_parts(efi_file *file, struct file_content *content, size_t bytes,
                             void (*progress)(void)) {
  while (content->count < bytes) {
    size_t left = bytes - content->count;
    size_t part = left < part_bytes ? left : part_bytes;
    efi_status status = file->read(file, &part, content->bytes + content->count);
    if (efi_failed(status)) return status;
    if (part == 0) return EFI_LOAD_ERROR;
    content->count += part;
    if (progress != NULL) progress();
  }
  return EFI_SUCCESS;
}

efi_status files_read(const char *path, size_t bytes_max, void (*progress)(void),
                      struct file_content *content) {
  *content = (struct file_content){NULL, 0};
  efi_file *file = NULL;
  size_t bytes = 0;
  efi_status status = open_file(path, &file, &bytes);
  if (efi_failed(status)) return status;
  uint64_t address = 0;
  if (bytes == 0 || bytes > bytes_max)
    status = EFI_LOAD_ERROR;
  else
    status = firmware_boot->allocate_pages(EFI_ALLOCATE_ANY_PAGES, EFI_LOADER_DATA, pages_of(bytes),
                                           &address);
  if (!efi_failed(status)) {
    content->bytes = (uint8_t *)address;
    status = read_parts(file, content, bytes, progress);
    if (efi_failed(status)) {
      content->count = bytes;
      files_free(content);
    }
  }
  file->close(file);
  return status;
}

void files_free(struct file_content *content) {
  if (content->bytes != NULL) {
    firmware_boot->free_pages((uint64_t)content->bytes, pages_of(content->count));
  }
  *content = (struct file_content){NULL, 0};
}

/** With the device's path, so that the image knows which device it came from. */
efi_status files_load_image(const struct file_content *content, efi_handle *image) {
  void *path = NULL;
  firmware_boot->handle_protocol(files.device, &device_path_guid, &path);
  return firmware_boot->load_image(false, files.image, path, content->bytes, content->count, image);
}
