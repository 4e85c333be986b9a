/**
 * The TCO timer of Intel's I/O hubs, second generation registers (ICH6 to ICH10; ICH9 datasheet
 * 316972, 13.9): counts down twice, and the second expiry resets the machine unless the strap
 * "no reboot" is in force. Nothing locks it on.
 */
#include "watchdog.h"

enum {
  identity_register = 0x00,
  pm_base_register = 0x40,
  pm_control_register = 0x44,
  root_complex_register = 0xf0,
  general_control = 0x3410,
  tco_offset = 0x60,
  reload_register = 0x00,
  status1_register = 0x04,
  status2_register = 0x06,
  control1_register = 0x08,
  timer_register = 0x12,
};

static const uint32_t no_reboot_bit = 1U << 5;
static const uint32_t halt_bit = 1U << 11;
static const uint32_t timed_out_bit = 1U << 3;
static const uint32_t second_bit = 1U << 1, boot_bit = 1U << 2;
static const uint32_t ticks_mask = 0x3ff;
/** A tick is 0.6 s, and there are two rounds; fewer than four ticks are ignored. */
static const uint64_t tick_ms = 600, rounds = 2, ticks_min = 4, ticks_max = 0x3ff;

/** LPC bridges whose TCO this is: QEMU's q35 is an ICH9. */
static bool is_known(uint32_t identity) {
  static const uint32_t known[] = {0x29188086, 0x29128086, 0x29148086, 0x29168086,
                                   0x29178086, 0x29198086, 0x3a188086, 0x3a168086};
  for (unsigned at = 0; at < sizeof known / sizeof known[0]; at += 1) {
    if (identity == known[at]) return true;
  }
  return false;
}

static uint32_t get(const struct watchdog *watchdog, uint64_t at) {
  return register_read(watchdog, space_io, watchdog->base + at, 2);
}

static void put(const struct watchdog *watchdog, uint64_t at, uint32_t value) {
  register_write(watchdog, space_io, watchdog->base + at, 2, value);
}

/** A write of any value reloads, and the flag of the first expiry is cleared with it. */
static void refresh(struct watchdog *watchdog) {
  put(watchdog, reload_register, 1);
  put(watchdog, status1_register, timed_out_bit);
}

static bool stop(struct watchdog *watchdog) {
  put(watchdog, control1_register, get(watchdog, control1_register) | halt_bit);
  return (get(watchdog, control1_register) & halt_bit) != 0;
}

static bool allow_reboot(const struct watchdog *watchdog) {
  uint32_t control = register_read(watchdog, space_memory, watchdog->base2, 4);
  register_write(watchdog, space_memory, watchdog->base2, 4, control & ~no_reboot_bit);
  return (register_read(watchdog, space_memory, watchdog->base2, 4) & no_reboot_bit) == 0;
}

static uint64_t arm(struct watchdog *watchdog, uint64_t timeout_ms) {
  uint64_t ticks = (timeout_ms + tick_ms * rounds - 1) / (tick_ms * rounds);
  if (ticks < ticks_min) ticks = ticks_min;
  if (ticks > ticks_max) ticks = ticks_max;
  if (!allow_reboot(watchdog)) return 0;
  uint32_t kept = get(watchdog, timer_register) & ~ticks_mask;
  put(watchdog, timer_register, kept | (uint32_t)ticks);
  refresh(watchdog);
  put(watchdog, control1_register, get(watchdog, control1_register) & ~halt_bit);
  refresh(watchdog);
  bool counts = (get(watchdog, control1_register) & halt_bit) == 0;
  bool taken = (get(watchdog, timer_register) & ticks_mask) == ticks;
  return counts && taken ? ticks * tick_ms * rounds : 0;
}

static uint64_t remaining(struct watchdog *watchdog) {
  uint64_t ticks = get(watchdog, reload_register) & ticks_mask;
  bool is_second = (get(watchdog, status1_register) & timed_out_bit) != 0;
  uint64_t ms = ticks * tick_ms + (is_second ? 0 : watchdog->granted_ms / rounds);
  return ms < watchdog->granted_ms ? ms : watchdog->granted_ms;
}

static void forget_cause(struct watchdog *watchdog) {
  put(watchdog, status2_register, second_bit | boot_bit);
}

static const struct watchdog_ops ops = {
    .arm = arm,
    .refresh = refresh,
    .stop = stop,
    .remaining = remaining,
    .forget_cause = forget_cause,
};

bool tco_probe(struct watchdog *watchdog) {
  if (!is_known(register_read(watchdog, space_config, identity_register, 4))) return false;
  uint32_t base = register_read(watchdog, space_config, pm_base_register, 4) & 0xff80;
  bool is_decoded = (register_read(watchdog, space_config, pm_control_register, 1) & 0x80) != 0;
  uint32_t complex = register_read(watchdog, space_config, root_complex_register, 4);
  if (base == 0 || !is_decoded || (complex & 1) == 0) return false;
  watchdog->ops = &ops;
  watchdog->backend = "iTCO";
  watchdog->base = base + tco_offset;
  watchdog->base2 = (complex & 0xffffc000) + general_control;
  watchdog->min_ms = ticks_min * tick_ms * rounds;
  watchdog->max_ms = ticks_max * tick_ms * rounds;
  watchdog->can_rearm = true;
  bool fired = (get(watchdog, status2_register) & second_bit) != 0;
  watchdog->cause = fired ? cause_watchdog : cause_unknown;
  // A reset need not stop it: what is left of a countdown of the boot before is no protection.
  return allow_reboot(watchdog) && stop(watchdog);
}
