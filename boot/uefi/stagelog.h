/** The log of this boot: which stage began when, with which steps. Bounded; times are counter
 * values. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** In the order of boot/stages.json. */
enum stage { stage_power_on, stage_os_load, stage_hand_off, stage_adopt, stage_runtime };

enum {
  stages_max = 4,
  /** What the hand-off record takes; later steps of a stage are dropped, the first ones stay. */
  steps_max = 16,
  /** With the terminating zero. */
  step_name_bytes = 24,
};

struct step_entry {
  char name[step_name_bytes];
  uint64_t counter;
};

struct stage_entry {
  enum stage stage;
  uint64_t start, end;
  bool ended;
  size_t steps_count;
  struct step_entry steps[steps_max];
};

struct stage_log {
  /** Ticks per second of the counter, and its value at the log's zero. */
  uint64_t hz, zero;
  size_t count;
  struct stage_entry stages[stages_max];
};

/** Begins the stage when the log is not in it; `step` may be empty. Names are cut to fit. */
void stage_log_mark(struct stage_log *log, enum stage stage, const char *step, uint64_t counter);

/** Milliseconds from the log's zero to `counter`. */
uint64_t stage_log_ms(const struct stage_log *log, uint64_t counter);

const char *stage_name(enum stage stage);

/** Copies text with its terminating zero, cut to `bytes`. */
void copy_text(char *to, size_t bytes, const char *from);
