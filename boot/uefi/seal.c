#include "seal.h"

static const uint8_t version = 1;

uint32_t crc32_of(const uint8_t *bytes, size_t count) {
  uint32_t crc = 0xffffffff;
  for (size_t at = 0; at < count; at += 1) {
    crc ^= bytes[at];
    for (int bit = 0; bit < 8; bit += 1) crc = (crc & 1) != 0 ? (crc >> 1) ^ 0xedb88320 : crc >> 1;
  }
  return ~crc;
}

static void put_u32(uint8_t *to, uint32_t value) {
  for (unsigned at = 0; at < 4; at += 1) to[at] = (uint8_t)(value >> (24 - 8 * at));
}

static uint32_t get_u32(const uint8_t *from) {
  return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

size_t seal(uint8_t *record, const char magic[4], size_t data_bytes) {
  for (size_t at = 0; at < 4; at += 1) record[at] = (uint8_t)magic[at];
  record[4] = version;
  for (size_t at = 5; at < 12; at += 1) record[at] = 0;
  put_u32(record + 12, (uint32_t)data_bytes);
  put_u32(record + 16, crc32_of(record, 16));
  put_u32(record + seal_header_bytes + data_bytes,
          crc32_of(record + seal_header_bytes, data_bytes));
  return data_bytes + seal_bytes;
}

const uint8_t *unseal(const uint8_t *record, size_t bytes, const char magic[4],
                      size_t *data_bytes) {
  if (bytes < seal_bytes) return NULL;
  if (crc32_of(record, 16) != get_u32(record + 16)) return NULL;
  for (size_t at = 0; at < 4; at += 1) {
    if (record[at] != (uint8_t)magic[at]) return NULL;
  }
  if (record[4] != version) return NULL;
  size_t length = get_u32(record + 12);
  if (length != bytes - seal_bytes) return NULL;
  const uint8_t *data = record + seal_header_bytes;
  if (crc32_of(data, length) != get_u32(data + length)) return NULL;
  *data_bytes = length;
  return data;
}
