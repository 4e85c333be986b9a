/**
 * The loader's configuration, `\EFI\kennel\boot.conf`: lines of `key = value`, `#` begins a
 * comment. Pure and bounded. What cannot be understood is noted and leaves the default standing: a
 * damaged configuration must not keep a card from booting.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bootstate.h"
#include "stagelog.h"

enum {
  config_bytes_max = 16384,
  config_path_bytes = 128,
  config_options_bytes = 1024,
  config_slots = 3,
};

/** What one slot boots; an empty initrd is none. */
struct config_slot {
  char kernel[config_path_bytes];
  char initrd[config_path_bytes];
  char options[config_options_bytes];
};

struct config {
  /** Timeout to arm with; 0 = the device's maximum. */
  uint64_t timeout_ms;
  /** Without a watchdog: stop instead of booting on unprotected. */
  bool require;
  /** Lock the hardware at hand-off, where it can be. */
  bool lock;
  uint64_t attempts_max;
  /** How long a key at the console is waited for, and how long a person may hold the boot. */
  uint64_t menu_ms, hold_max_ms;
  /** The watchdog driver to load when no API is there; empty: none. */
  char driver[config_path_bytes];
  struct config_slot slots[config_slots];
  /** Laboratory only, and only after `lab = yes`: the step to hang in, and how. */
  bool lab;
  char hang_step[step_name_bytes];
  bool hang_high;
  /** Hangs in boots of this slot alone; slot_none: in any. */
  enum slot hang_slot;
  /** Extra milliseconds in each step of loading. */
  uint64_t slow_ms;
  /** Lines that were not understood, and the number of the first one, from 1. */
  uint64_t bad_lines, first_bad;
};

/** What is booted without a configuration, from boot/stages.json. */
void config_defaults(struct config *config);

/** Takes the lines of `text` in; later lines win. Text beyond `config_bytes_max` is not read. */
void config_parse(struct config *config, const char *text, size_t bytes);
