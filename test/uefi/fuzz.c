/** Whatever bytes come: no read outside of them, and what is believed can be written again. */
#include <stdlib.h>
#include <string.h>

#include "bootstate.h"
#include "cbor.h"
#include "config.h"
#include "seal.h"
#include "tests.h"
#include "watchdog.h"

static uint32_t state;

/** xorshift32, George Marsaglia 2003. */
static uint32_t random_below(uint32_t limit) {
  state ^= state << 13;
  state ^= state >> 17;
  state ^= state << 5;
  return state % limit;
}

static uint32_t no_read(void *context, enum register_space space, uint64_t at, unsigned bytes) {
  (void)context, (void)space, (void)at, (void)bytes;
  return random_below(2) == 0 ? 0 : UINT32_MAX;
}

static void no_write(void *context, enum register_space space, uint64_t at, unsigned bytes,
                     uint32_t value) {
  (void)context, (void)space, (void)at, (void)bytes, (void)value;
}

static void damage(uint8_t *bytes, size_t count) {
  for (uint32_t left = random_below(4); left > 0 && count > 0; left -= 1) {
    bytes[random_below((uint32_t)count)] = (uint8_t)random_below(256);
  }
}

/** On the heap and of exact length, so that the sanitizer sees a read of one byte too many. */
static void read_state(const uint8_t *bytes, size_t count) {
  uint8_t *copy = malloc(count + 1);
  memcpy(copy, bytes, count);
  struct boot_state read;
  uint8_t again[boot_state_bytes];
  if (boot_state_decode(&read, copy, count)) {
    EXPECT(boot_state_encode(&read, again, sizeof again) > 0);
    struct boot_notes notes = {.trial = slot_none};
    boot_state_begin(&read, &notes, cause_unknown, random_below(UINT32_MAX));
    EXPECT(boot_state_encode(&read, again, sizeof again) > 0);
  }
  free(copy);
}

/** A record whose seal is right and whose content is not. */
static void fuzz_state(void) {
  uint8_t bytes[boot_state_bytes];
  struct boot_state valid = boot_state_empty(false, 3);
  struct boot_notes notes = {.trial = slot_b};
  boot_state_begin(&valid, &notes, cause_unknown, random_below(UINT32_MAX));
  boot_state_begin(&valid, &notes, cause_watchdog, random_below(UINT32_MAX));
  size_t count = boot_state_encode(&valid, bytes, sizeof bytes);
  EXPECT(count > 0 && boot_state_decode(&valid, bytes, count));
  damage(bytes + seal_header_bytes, count - seal_bytes);
  size_t cut = random_below(4) == 0 ? random_below((uint32_t)(count - seal_bytes)) : 0;
  const char magic[4] = {'K', 'N', 'L', 'B'};
  read_state(bytes, seal(bytes, magic, count - seal_bytes - cut));
  damage(bytes, count);
  read_state(bytes, random_below((uint32_t)count));
}

static void fuzz_cbor(void) {
  size_t count = random_below(64);
  uint8_t *bytes = malloc(count + 1);
  for (size_t at = 0; at < count; at += 1) bytes[at] = (uint8_t)random_below(256);
  struct cbor_reader reader = {bytes, 0, count, false};
  for (int items = 0; items < 64 && !reader.failed; items += 1) cbor_skip(&reader);
  EXPECT(reader.at <= count);
  free(bytes);
}

static void fuzz_config(void) {
  static const char *const parts[] = {
      "timeout",  "policy", "lock",  "a.kernel", "b.options",   "safe.initrd", "lab", "lab.hang",
      "attempts", " ",      "=",     "\n",       "\r\n",        "#",           "yes", "require",
      "20",       "/x/y",   "\\EFI", "\xff",     "99999999999", ".",           "\t",  "menu"};
  size_t count = 0;
  char *text = malloc(4096);
  for (uint32_t left = random_below(60); left > 0; left -= 1) {
    const char *part = parts[random_below(sizeof parts / sizeof parts[0])];
    size_t length = strlen(part);
    memcpy(text + count, part, length);
    count += length;
  }
  text = realloc(text, count + 1);
  struct config config;
  config_defaults(&config);
  config_parse(&config, text, count);
  EXPECT(config.slots[0].kernel[0] != 0 && config.attempts_max >= 1);
  EXPECT(config.lab || config.hang_step[0] == 0);
  free(text);
}

static void fuzz_gtdt(void) {
  size_t count = 90 + random_below(120);
  uint8_t *bytes = calloc(1, count);
  for (size_t at = 96; at < count; at += 1) bytes[at] = (uint8_t)random_below(40);
  if (count > 96) {
    bytes[88] = (uint8_t)random_below(5);
    bytes[92] = (uint8_t)(90 + random_below(30));
  }
  struct watchdog watchdog = {.registers = {NULL, no_read, no_write}};
  sbsa_probe(&watchdog, bytes, count, 1000 + random_below(2000000000));
  free(bytes);
}

void fuzz_readers(uint32_t seed, uint32_t runs) {
  state = seed == 0 ? 1 : seed;
  for (; runs > 0; runs -= 1) {
    fuzz_state();
    fuzz_cbor();
    fuzz_config();
    fuzz_gtdt();
  }
}
