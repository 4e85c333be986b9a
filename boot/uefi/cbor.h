/**
 * CBOR (RFC 8949) as Kennel's records use it: definite lengths, shortest heads, unsigned integers,
 * text, lists, maps, booleans. Writer and reader stop for good at the first problem: `failed`.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cbor_writer {
  uint8_t *bytes;
  size_t count, capacity;
  bool failed;
};

void cbor_put_map(struct cbor_writer *writer, size_t members);
void cbor_put_list(struct cbor_writer *writer, size_t items);
void cbor_put_text(struct cbor_writer *writer, const char *text);
void cbor_put_uint(struct cbor_writer *writer, uint64_t value);
void cbor_put_bool(struct cbor_writer *writer, bool value);
void cbor_put_text_member(struct cbor_writer *writer, const char *key, const char *text);
void cbor_put_uint_member(struct cbor_writer *writer, const char *key, uint64_t value);
void cbor_put_bool_member(struct cbor_writer *writer, const char *key, bool value);

struct cbor_reader {
  const uint8_t *bytes;
  size_t at, count;
  bool failed;
};

/** The number of members; 0 and `failed` when the next item is no map. */
size_t cbor_get_map(struct cbor_reader *reader);
/** Text that is printable ASCII and fits with its terminating zero, else `failed`. */
void cbor_get_text(struct cbor_reader *reader, char *to, size_t bytes);
uint64_t cbor_get_uint(struct cbor_reader *reader);
bool cbor_get_bool(struct cbor_reader *reader);
/** Steps over one item of any supported kind. */
void cbor_skip(struct cbor_reader *reader);
