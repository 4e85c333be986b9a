/** What the compiler calls by name where there is no library. */
#include <stddef.h>
#include <stdint.h>

void *memset(void *to, int value, size_t bytes);
void *memcpy(void *restrict to, const void *restrict from, size_t bytes);

void *memset(void *to, int value, size_t bytes) {
  volatile uint8_t *at = to;
  for (; bytes > 0; bytes -= 1, at += 1) *at = (uint8_t)value;
  return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t bytes) {
  volatile uint8_t *at = to;
  const uint8_t *source = from;
  for (; bytes > 0; bytes -= 1, at += 1, source += 1) *at = *source;
  return to;
}
