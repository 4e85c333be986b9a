/**
 * The watchdog of the Intel 6300ESB (datasheet 300641, chapter 17; PCI 8086:25ab): two timers that
 * run one after the other, of which the second resets the machine. Written to only after the
 * sequence 80h, 86h. Its lock bit keeps a running countdown from being stopped until the next
 * reset.
 */
#include "watchdog.h"

enum {
  identity_register = 0x00,
  config_register = 0x60,
  lock_register = 0x68,
  timer1_register = 0x00,
  timer2_register = 0x04,
  reload_register = 0x0c,
};

static const uint32_t identity = 0x25ab8086;
/** No interrupt after the first timer, 1 kHz, the reset goes out. */
static const uint32_t config_reset_1khz = 0x0003;
static const uint32_t lock_bit = 0x01, enable_bit = 0x02;
static const uint32_t reload_bit = 0x100, timed_out_bit = 0x200;
/** A tick is 2^15 cycles of the PCI clock, 30 ns each; each timer counts at most 20 bits of them.
 */
static const uint64_t tick_ns = 32768 * 30, ns_per_ms = 1000000, ticks_max = 0xfffff;

static uint64_t ms_of(uint64_t ticks) { return ticks * tick_ns / ns_per_ms; }

/** Rounded up: whoever asks for a time gets at least that. */
static uint64_t ticks_of(uint64_t ms) { return (ms * ns_per_ms + tick_ns - 1) / tick_ns; }

static void unlocked_write(const struct watchdog *watchdog, uint64_t at, unsigned bytes,
                           uint32_t value) {
  register_write(watchdog, space_bar0, reload_register, 2, 0x80);
  register_write(watchdog, space_bar0, reload_register, 2, 0x86);
  register_write(watchdog, space_bar0, at, bytes, value);
}

static void refresh(struct watchdog *watchdog) {
  unlocked_write(watchdog, reload_register, 2, reload_bit);
}

static uint32_t lock_state(const struct watchdog *watchdog) {
  return register_read(watchdog, space_config, lock_register, 1);
}

static uint64_t arm(struct watchdog *watchdog, uint64_t timeout_ms) {
  uint64_t ticks = ticks_of(timeout_ms);
  uint64_t first = ticks / 2, second = ticks - first;
  unlocked_write(watchdog, timer1_register, 4, (uint32_t)first);
  unlocked_write(watchdog, timer2_register, 4, (uint32_t)second);
  refresh(watchdog);
  if (!watchdog->locked) register_write(watchdog, space_config, lock_register, 1, enable_bit);
  refresh(watchdog);
  if ((lock_state(watchdog) & enable_bit) == 0) return 0;
  return ms_of(ticks);
}

static bool stop(struct watchdog *watchdog) {
  register_write(watchdog, space_config, lock_register, 1, 0);
  return (lock_state(watchdog) & enable_bit) == 0;
}

static bool lock(struct watchdog *watchdog) {
  register_write(watchdog, space_config, lock_register, 1, enable_bit | lock_bit);
  return (lock_state(watchdog) & lock_bit) != 0;
}

static void forget_cause(struct watchdog *watchdog) {
  unlocked_write(watchdog, reload_register, 2, timed_out_bit);
}

static const struct watchdog_ops ops = {
    .arm = arm,
    .refresh = refresh,
    .stop = stop,
    .lock = lock,
    .forget_cause = forget_cause,
};

bool i6300esb_probe(struct watchdog *watchdog) {
  if (register_read(watchdog, space_config, identity_register, 4) != identity) return false;
  uint32_t state = lock_state(watchdog);
  watchdog->ops = &ops;
  watchdog->backend = "i6300esb";
  watchdog->min_ms = 1000;
  watchdog->max_ms = ms_of(2 * ticks_max);
  watchdog->can_rearm = true;
  watchdog->locked = (state & lock_bit) != 0;
  watchdog->running = (state & enable_bit) != 0;
  uint32_t reload = register_read(watchdog, space_bar0, reload_register, 2);
  if (reload == 0xffff) return false;
  watchdog->cause = (reload & timed_out_bit) != 0 ? cause_watchdog : cause_unknown;
  if (watchdog->running && !watchdog->locked) watchdog->running = !stop(watchdog);
  register_write(watchdog, space_config, config_register, 2, config_reset_1khz);
  return true;
}
