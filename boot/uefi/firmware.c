#include "firmware.h"

#include <stdarg.h>

#include "arch.h"
#include "seal.h"

efi_system_table *firmware_system;
efi_boot_services *firmware_boot;

static const efi_guid vendor = {
    0x6f1bd1c4, 0x8d6a, 0x4a3e, {0x9a, 0x59, 0x3c, 0x1f, 0x0f, 0x6f, 0x7c, 0x11}};

void firmware_begin(efi_system_table *system) {
  firmware_system = system;
  firmware_boot = system->boot;
}

enum { line_characters_max = 240 };

struct line {
  efi_char text[line_characters_max + 3];
  size_t count;
};

static void put(struct line *line, char character) {
  if (line->count == line_characters_max) return;
  line->text[line->count] = (efi_char)(unsigned char)character;
  line->count += 1;
}

static void put_number(struct line *line, uint64_t value, unsigned base) {
  char digits[20];
  size_t count = 0;
  do {
    digits[count] = "0123456789abcdef"[value % base];
    count += 1;
    value /= base;
  } while (value > 0);
  for (; count > 0; count -= 1) put(line, digits[count - 1]);
}

static void put_text(struct line *line, const char *text) {
  for (; *text != 0; text += 1) put(line, *text);
}

void say(const char *format, ...) {
  struct line line = {.count = 0};
  va_list arguments;
  va_start(arguments, format);
  put_text(&line, "kennel: ");
  for (; *format != 0; format += 1) {
    if (*format != '%') {
      put(&line, *format);
      continue;
    }
    format += 1;
    if (*format == 's') put_text(&line, va_arg(arguments, const char *));
    if (*format == 'd') put_number(&line, va_arg(arguments, uint64_t), 10);
    if (*format == 'x') put_number(&line, va_arg(arguments, uint64_t), 16);
  }
  va_end(arguments);
  line.text[line.count] = '\r';
  line.text[line.count + 1] = '\n';
  line.text[line.count + 2] = 0;
  efi_text_output *console = firmware_system->console_out;
  if (console != NULL) console->output_string(console, line.text);
}

/**
 * Stall never returns early, and whatever interrupts it makes it longer: so the least of a few
 * measurements is the best one.
 */
uint64_t counter_hz(void) {
  static const size_t stall_us = 10000;
  static const int measurements = 8;
  uint64_t known = arch_counter_hz();
  if (known != 0) return known;
  uint64_t least = UINT64_MAX;
  for (int at = 0; at < measurements; at += 1) {
    uint64_t start = arch_counter();
    firmware_boot->stall(stall_us);
    uint64_t ticks = arch_counter() - start;
    if (ticks < least) least = ticks;
  }
  return least * (1000000 / stall_us);
}

uint32_t boot_random(void) {
  struct {
    uint64_t counter, count;
    efi_time time;
  } seed = {.counter = arch_counter()};
  firmware_boot->get_next_monotonic_count(&seed.count);
  firmware_system->runtime->get_time(&seed.time, NULL);
  return crc32_of((const uint8_t *)&seed, sizeof seed);
}

efi_status variable_get(const efi_char *name, void *data, size_t *bytes) {
  return firmware_system->runtime->get_variable(name, &vendor, NULL, bytes, data);
}

efi_status variable_set(const efi_char *name, bool is_kept, const void *data, size_t bytes) {
  uint32_t attributes = EFI_VARIABLE_BOOTSERVICE_ACCESS | EFI_VARIABLE_RUNTIME_ACCESS;
  if (is_kept) attributes |= EFI_VARIABLE_NON_VOLATILE;
  if (bytes == 0) attributes = 0;
  return firmware_system->runtime->set_variable(name, &vendor, attributes, bytes, data);
}

bool guid_equal(const efi_guid *one, const efi_guid *other) {
  bool is_equal = one->a == other->a && one->b == other->b && one->c == other->c;
  for (unsigned at = 0; at < 8; at += 1) is_equal = is_equal && one->d[at] == other->d[at];
  return is_equal;
}
