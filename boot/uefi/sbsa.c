/**
 * The generic watchdog of Arm's Base System Architecture (DEN0029, appendix A; BSA DEN0094), found
 * through the ACPI table GTDT (ACPI 6.5, 5.2.25). Two stages of `offset` ticks each: the first one
 * raises an interrupt, the second one resets the machine. Revision 0 has 32 bits of offset.
 */
#include "watchdog.h"

enum {
  refresh_write = 0x000,
  control_status = 0x000,
  control_offset = 0x008,
  control_offset_high = 0x00c,
  control_identity = 0xfcc,
  timers_count_at = 88,
  timers_offset_at = 92,
  gtdt_header_bytes = 96,
  watchdog_type = 1,
  watchdog_bytes = 28,
};

static const uint32_t enable_bit = 1, fired_bit = 1U << 2;
static const uint64_t stages = 2;
static const uint64_t offset_max_v0 = UINT32_MAX, offset_max_v1 = (1ULL << 48) - 1;
/** Longer than anybody waits, and short enough that no product below overflows. */
static const uint64_t longest_ms = 86400000;

static uint32_t get_u32(const uint8_t *from) {
  return (uint32_t)from[3] << 24 | (uint32_t)from[2] << 16 | (uint32_t)from[1] << 8 | from[0];
}

static uint64_t get_u64(const uint8_t *from) {
  return (uint64_t)get_u32(from + 4) << 32 | get_u32(from);
}

static uint32_t get(const struct watchdog *watchdog, uint64_t at) {
  return register_read(watchdog, space_memory, watchdog->base2 + at, 4);
}

static void put(const struct watchdog *watchdog, uint64_t at, uint32_t value) {
  register_write(watchdog, space_memory, watchdog->base2 + at, 4, value);
}

static bool has_48_bits(const struct watchdog *watchdog) {
  return (get(watchdog, control_identity) >> 16 & 0xf) >= 1;
}

static void refresh(struct watchdog *watchdog) {
  register_write(watchdog, space_memory, watchdog->base + refresh_write, 4, 1);
}

static uint64_t arm(struct watchdog *watchdog, uint64_t timeout_ms) {
  uint64_t divisor = 1000 * stages;
  uint64_t ticks = (timeout_ms * watchdog->hz + divisor - 1) / divisor;
  uint64_t ticks_max = has_48_bits(watchdog) ? offset_max_v1 : offset_max_v0;
  if (ticks > ticks_max) ticks = ticks_max;
  put(watchdog, control_offset, (uint32_t)ticks);
  if (has_48_bits(watchdog)) put(watchdog, control_offset_high, (uint32_t)(ticks >> 32));
  put(watchdog, control_status, enable_bit);
  refresh(watchdog);
  bool counts = (get(watchdog, control_status) & enable_bit) != 0;
  bool taken = get(watchdog, control_offset) == (uint32_t)ticks;
  return counts && taken ? ticks * stages * 1000 / watchdog->hz : 0;
}

static bool stop(struct watchdog *watchdog) {
  put(watchdog, control_status, 0);
  return (get(watchdog, control_status) & enable_bit) == 0;
}

/** The device has no memory of its last reset beyond the one itself. */
static void forget_cause(struct watchdog *watchdog) { (void)watchdog; }

static const struct watchdog_ops ops = {
    .arm = arm,
    .refresh = refresh,
    .stop = stop,
    .forget_cause = forget_cause,
};

/** The first non-secure watchdog of the table: its frames. */
static bool find(const uint8_t *gtdt, size_t bytes, uint64_t *refresh_at, uint64_t *control_at) {
  static const uint32_t secure_bit = 1U << 2;
  if (bytes < gtdt_header_bytes) return false;
  uint32_t count = get_u32(gtdt + timers_count_at);
  size_t at = get_u32(gtdt + timers_offset_at);
  for (; count > 0 && at < bytes && bytes - at >= 3; count -= 1) {
    const uint8_t *entry = gtdt + at;
    size_t length = (size_t)entry[2] << 8 | entry[1];
    if (length < 3 || length > bytes - at) return false;
    if (entry[0] == watchdog_type && length >= watchdog_bytes) {
      if ((get_u32(entry + 24) & secure_bit) == 0) {
        *refresh_at = get_u64(entry + 4);
        *control_at = get_u64(entry + 12);
        return *refresh_at != 0 && *control_at != 0;
      }
    }
    at += length;
  }
  return false;
}

bool sbsa_probe(struct watchdog *watchdog, const uint8_t *gtdt, size_t bytes, uint64_t hz) {
  if (hz < 1000 || hz > 10000000000) return false;
  if (!find(gtdt, bytes, &watchdog->base, &watchdog->base2)) return false;
  watchdog->ops = &ops;
  watchdog->backend = "SBSA generic watchdog";
  watchdog->hz = hz;
  watchdog->min_ms = 1000;
  uint64_t ticks_max = has_48_bits(watchdog) ? offset_max_v1 : offset_max_v0;
  uint64_t max_ms = ticks_max / hz * stages * 1000;
  watchdog->max_ms = max_ms < longest_ms ? max_ms : longest_ms;
  watchdog->can_rearm = true;
  uint32_t state = get(watchdog, control_status);
  if (state == UINT32_MAX) return false;
  // Firmware that left the second signal standing tells of a reset by it; most clear it.
  watchdog->cause = (state & fired_bit) != 0 ? cause_watchdog : cause_unknown;
  return stop(watchdog) && watchdog->max_ms >= watchdog->min_ms;
}
