/** Sealed records, SPEC.md section 6: a header with a checksum of its own, and checksummed data. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { seal_header_bytes = 20, seal_bytes = seal_header_bytes + 4 };

/** CRC-32 as in zlib. */
uint32_t crc32_of(const uint8_t *bytes, size_t count);

/**
 * Seals in place: `record` has its `data_bytes` of data at `seal_header_bytes` and room for 4 more
 * behind. Gives the length of the record.
 */
size_t seal(uint8_t *record, const char magic[4], size_t data_bytes);

/** The data of an intact record of exactly this length, or NULL. */
const uint8_t *unseal(const uint8_t *record, size_t bytes, const char magic[4], size_t *data_bytes);
