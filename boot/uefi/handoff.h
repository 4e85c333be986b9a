/** The hand-off record, as agent/wire/handoff.ts decodes it. */
#pragma once

#include "bootstate.h"
#include "stagelog.h"
#include "watchdog.h"

enum { hand_off_bytes = 4096 };

struct hand_off {
  const struct boot_state *state;
  const struct stage_log *log;
  /** `none` without a watchdog: then nothing below counts. */
  const char *backend;
  bool has_countdown;
  uint64_t min_ms, max_ms;
  struct watchdog_handed handed;
  /** Of the last refresh, on the log's clock. */
  uint64_t refreshed_ms;
  enum reset_cause cause;
};

/** Gives the bytes of the sealed record; 0 when `capacity` does not do. */
size_t hand_off_encode(const struct hand_off *record, uint8_t *bytes, size_t capacity);
