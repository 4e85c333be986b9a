/**
 * One hardware countdown, whatever the device: limits, the rules of arming it, and its end at
 * hand-off. Nothing here knows UEFI; devices are reached through `struct registers`, so that tests
 * put a fake register block behind them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Where a register is. `bar0` counts from the device's first BAR, `io` and `memory` are absolute.
 */
enum register_space { space_config, space_bar0, space_io, space_memory };

/** How a device is reached; `bytes` is 1, 2 or 4. A read that fails gives all ones. */
struct registers {
  void *context;
  uint32_t (*read)(void *context, enum register_space space, uint64_t at, unsigned bytes);
  void (*write)(void *context, enum register_space space, uint64_t at, unsigned bytes,
                uint32_t value);
};

enum watchdog_result {
  watchdog_ok,
  /** The timeout is below the device's minimum or above its maximum. Nothing was changed. */
  watchdog_range,
  /** The device cannot be stopped, or cannot be restarted with another timeout. */
  watchdog_unsupported,
  /** The API ended at hand-off. */
  watchdog_revoked,
  /** The device did not do what it was told. */
  watchdog_device,
};

/** What the hardware says ended the boot before. Never guessed. */
enum reset_cause { cause_unknown, cause_watchdog, cause_power };

struct watchdog;

/** What a kind of device can do. `lock` and `remaining` may be absent. */
struct watchdog_ops {
  /** Starts or restarts the countdown; gives the timeout the device really took, ms, 0 = failed. */
  uint64_t (*arm)(struct watchdog *watchdog, uint64_t timeout_ms);
  void (*refresh)(struct watchdog *watchdog);
  /** True when the countdown stands still afterwards. */
  bool (*stop)(struct watchdog *watchdog);
  /** From now on nothing but a reset ends the countdown. True when the device says so itself. */
  bool (*lock)(struct watchdog *watchdog);
  uint64_t (*remaining)(struct watchdog *watchdog);
  /** The cause has been noted: the device may forget it. */
  void (*forget_cause)(struct watchdog *watchdog);
};

struct watchdog {
  const struct watchdog_ops *ops;
  struct registers registers;
  /** Name for people and for the record, such as `i6300esb`. */
  const char *backend;
  /** Base of the device's registers where it has one that the ops need. */
  uint64_t base, base2;
  /** Ticks per second where the device's clock is not fixed. */
  uint64_t hz;
  uint64_t min_ms, max_ms;
  /** 0 while stopped. */
  uint64_t granted_ms;
  enum reset_cause cause;
  bool running;
  bool locked;
  /** True when a running countdown takes another timeout. */
  bool can_rearm;
  bool revoked;
};

/**
 * The four rows (A1-06). Nonzero while stopped: arms. Nonzero while running: restarts with the new
 * timeout. Zero while stopped: nothing. Zero while running: disarms. A timeout out of range is
 * refused, never clamped. `granted_ms` gets what the device took; 0 after disarming.
 */
enum watchdog_result watchdog_set(struct watchdog *watchdog, uint64_t timeout_ms,
                                  uint64_t *granted_ms);

/** Grants the whole period again; does nothing while stopped. */
enum watchdog_result watchdog_refresh(struct watchdog *watchdog);

enum watchdog_result watchdog_disable(struct watchdog *watchdog);

/** What happened at hand-off; `refreshed` is false when nothing was counting. */
struct watchdog_handed {
  bool refreshed;
  bool locked;
  uint64_t granted_ms;
  uint64_t remaining_ms;
};

/**
 * The end of the API: exactly one last refresh when armed, the lock when `lock` asks for it and the
 * device has one; every later call is refused. A second hand-off does nothing.
 */
struct watchdog_handed watchdog_hand_off(struct watchdog *watchdog, bool lock);

/**
 * The probes. Each returns true when its device is there and works, with everything in `watchdog`
 * set but `registers`, which is given. A countdown found running is stopped, unless it is locked.
 */
bool i6300esb_probe(struct watchdog *watchdog);
bool tco_probe(struct watchdog *watchdog);
/** `gtdt`: the ACPI table of that name, as long as its header says but at most `bytes`. */
bool sbsa_probe(struct watchdog *watchdog, const uint8_t *gtdt, size_t bytes, uint64_t hz);

static inline uint32_t register_read(const struct watchdog *watchdog, enum register_space space,
                                     uint64_t at, unsigned bytes) {
  return watchdog->registers.read(watchdog->registers.context, space, at, bytes);
}

static inline void register_write(const struct watchdog *watchdog, enum register_space space,
                                  uint64_t at, unsigned bytes, uint32_t value) {
  watchdog->registers.write(watchdog->registers.context, space, at, bytes, value);
}
