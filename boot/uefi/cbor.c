#include "cbor.h"

enum { major_uint = 0, major_text = 3, major_list = 4, major_map = 5, major_simple = 7 };
enum { simple_false = 20, simple_true = 21 };
/** Items that one cbor_skip() may step over: more is no record of ours. */
static const uint64_t items_max = 512;

static void put_byte(struct cbor_writer *writer, uint8_t byte) {
  if (writer->count == writer->capacity) writer->failed = true;
  if (writer->failed) return;
  writer->bytes[writer->count] = byte;
  writer->count += 1;
}

static void put_head(struct cbor_writer *writer, unsigned major, uint64_t value) {
  if (value < 24) return put_byte(writer, (uint8_t)(major << 5 | value));
  unsigned log2_bytes = value <= 0xff ? 0 : value <= 0xffff ? 1 : value <= 0xffffffff ? 2 : 3;
  put_byte(writer, (uint8_t)(major << 5 | (24 + log2_bytes)));
  for (unsigned left = 1U << log2_bytes; left > 0; left -= 1) {
    put_byte(writer, (uint8_t)(value >> (8 * (left - 1))));
  }
}

void cbor_put_map(struct cbor_writer *writer, size_t members) {
  put_head(writer, major_map, members);
}

void cbor_put_list(struct cbor_writer *writer, size_t items) {
  put_head(writer, major_list, items);
}

void cbor_put_text(struct cbor_writer *writer, const char *text) {
  size_t length = 0;
  while (text[length] != 0) length += 1;
  put_head(writer, major_text, length);
  for (size_t at = 0; at < length; at += 1) put_byte(writer, (uint8_t)text[at]);
}

void cbor_put_uint(struct cbor_writer *writer, uint64_t value) {
  put_head(writer, major_uint, value);
}

void cbor_put_bool(struct cbor_writer *writer, bool value) {
  put_head(writer, major_simple, value ? simple_true : simple_false);
}

void cbor_put_text_member(struct cbor_writer *writer, const char *key, const char *text) {
  cbor_put_text(writer, key);
  cbor_put_text(writer, text);
}

void cbor_put_uint_member(struct cbor_writer *writer, const char *key, uint64_t value) {
  cbor_put_text(writer, key);
  cbor_put_uint(writer, value);
}

void cbor_put_bool_member(struct cbor_writer *writer, const char *key, bool value) {
  cbor_put_text(writer, key);
  cbor_put_bool(writer, value);
}

static uint8_t get_byte(struct cbor_reader *reader) {
  if (reader->at == reader->count) reader->failed = true;
  if (reader->failed) return 0;
  reader->at += 1;
  return reader->bytes[reader->at - 1];
}

/** The head of the next item; `failed` for what is not a definite head in its shortest form. */
static uint64_t get_head(struct cbor_reader *reader, unsigned *major) {
  uint8_t first = get_byte(reader);
  *major = first >> 5;
  unsigned info = first & 0x1f;
  if (info < 24) return info;
  if (info > 27) {
    reader->failed = true;
    return 0;
  }
  uint64_t value = 0;
  for (unsigned left = 1U << (info - 24); left > 0; left -= 1) {
    value = value << 8 | get_byte(reader);
  }
  static const uint64_t least[] = {24, 0x100, 0x10000, 0x100000000};
  if (value < least[info - 24]) reader->failed = true;
  return reader->failed ? 0 : value;
}

static uint64_t get_of(struct cbor_reader *reader, unsigned wanted) {
  unsigned major = 0;
  uint64_t value = get_head(reader, &major);
  if (major != wanted) reader->failed = true;
  return reader->failed ? 0 : value;
}

size_t cbor_get_map(struct cbor_reader *reader) {
  uint64_t members = get_of(reader, major_map);
  if (members > items_max) reader->failed = true;
  return reader->failed ? 0 : (size_t)members;
}

void cbor_get_text(struct cbor_reader *reader, char *to, size_t bytes) {
  to[0] = 0;
  uint64_t length = get_of(reader, major_text);
  if (length >= bytes) reader->failed = true;
  for (size_t at = 0; at < length && !reader->failed; at += 1) {
    uint8_t byte = get_byte(reader);
    if (byte < 0x20 || byte > 0x7e) reader->failed = true;
    to[at] = (char)byte;
    to[at + 1] = 0;
  }
  if (reader->failed) to[0] = 0;
}

uint64_t cbor_get_uint(struct cbor_reader *reader) { return get_of(reader, major_uint); }

bool cbor_get_bool(struct cbor_reader *reader) {
  uint64_t value = get_of(reader, major_simple);
  if (value != simple_false && value != simple_true) reader->failed = true;
  return value == simple_true;
}

void cbor_skip(struct cbor_reader *reader) {
  uint64_t left = 1;
  for (uint64_t steps = 0; left > 0 && !reader->failed; steps += 1, left -= 1) {
    unsigned major = 0;
    uint64_t value = get_head(reader, &major);
    if (reader->failed) return;
    if (major == major_list || major == major_map) {
      if (value > items_max)
        reader->failed = true;
      else
        left += major == major_map ? 2 * value : value;
    } else if (major == major_text) {
      if (value > reader->count - reader->at)
        reader->failed = true;
      else
        reader->at += (size_t)value;
    } else if (major != major_uint && major != major_simple) {
      reader->failed = true;
    }
    if (steps > items_max) reader->failed = true;
  }
}
