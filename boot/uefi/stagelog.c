#include "stagelog.h"

const char *stage_name(enum stage stage) {
  static const char *const names[] = {"power_on", "os_load", "hand_off", "adopt", "runtime"};
  return names[stage];
}

void copy_text(char *to, size_t bytes, const char *from) {
  size_t at = 0;
  for (; at + 1 < bytes && from[at] != 0; at += 1) to[at] = from[at];
  to[at] = 0;
}

uint64_t stage_log_ms(const struct stage_log *log, uint64_t counter) {
  if (counter <= log->zero || log->hz == 0) return 0;
  uint64_t ticks = counter - log->zero;
  return ticks / log->hz * 1000 + ticks % log->hz * 1000 / log->hz;
}

static struct stage_entry *enter(struct stage_log *log, enum stage stage, uint64_t counter) {
  if (log->count == stages_max) return NULL;
  if (log->count > 0) {
    struct stage_entry *last = &log->stages[log->count - 1];
    last->end = counter;
    last->ended = true;
  }
  struct stage_entry *entry = &log->stages[log->count];
  log->count += 1;
  entry->stage = stage;
  entry->start = counter;
  entry->ended = false;
  entry->steps_count = 0;
  return entry;
}

void stage_log_mark(struct stage_log *log, enum stage stage, const char *step, uint64_t counter) {
  struct stage_entry *entry = log->count == 0 ? NULL : &log->stages[log->count - 1];
  if (entry == NULL || entry->stage != stage) entry = enter(log, stage, counter);
  if (entry == NULL || step[0] == 0 || entry->steps_count == steps_max) return;
  struct step_entry *noted = &entry->steps[entry->steps_count];
  entry->steps_count += 1;
  copy_text(noted->name, sizeof noted->name, step);
  noted->counter = counter;
}
