/**
 * The watchdog API of the boot environment: a UEFI protocol, installed at power-on by the driver
 * (`driver.c`), dead from ExitBootServices on. After that every call answers EFI_UNSUPPORTED.
 */
#pragma once

#include "efi.h"
#include "stagelog.h"
#include "watchdog.h"

#define KENNEL_WATCHDOG_GUID                                                       \
  {                                                                                \
    0xb5c23295, 0xe318, 0x4f40, { 0xa0, 0x29, 0xb4, 0x5a, 0x12, 0x22, 0x8f, 0x10 } \
  }
#define KENNEL_WATCHDOG_REVISION 1ULL

struct kennel_info {
  const char *backend;
  uint64_t min_ms, max_ms;
  /** 0 while nothing counts. */
  uint64_t granted_ms;
  bool running, locked, can_lock;
  enum reset_cause cause;
};

/** What the last refresh left behind, told once, in ExitBootServices. */
struct kennel_handed {
  struct watchdog_handed watchdog;
  /** Of the last refresh, as `arch_counter()` reads. */
  uint64_t counter;
};

/**
 * Who is told of the hand-off, both times in ExitBootServices at TPL_NOTIFY: variables may be set,
 * memory must not be touched and nothing be printed. Members may be NULL.
 */
struct kennel_hand_off {
  /** Before the last refresh: what takes its time. */
  void (*before)(void);
  /** After it: the countdown is running for the kernel already. */
  void (*after)(const struct kennel_handed *handed);
  /** The hardware lock, where there is one. */
  bool lock;
};

typedef struct kennel_watchdog {
  uint64_t revision;
  efi_status (*info)(struct kennel_watchdog *self, struct kennel_info *info);
  /**
   * Zero disarms. Errors: EFI_INVALID_PARAMETER out of range, EFI_UNSUPPORTED cannot be stopped or
   * restarted, EFI_DEVICE_ERROR. `granted_ms` gets what the device took.
   */
  efi_status (*set_timeout)(struct kennel_watchdog *self, uint64_t timeout_ms,
                            uint64_t *granted_ms);
  efi_status (*refresh)(struct kennel_watchdog *self);
  efi_status (*disable)(struct kennel_watchdog *self);
  /** Notes a completed step; an empty `step` begins the stage. */
  efi_status (*mark)(struct kennel_watchdog *self, enum stage stage, const char *step);
  /** The stages so far. The pointer stays good until ExitBootServices returned. */
  efi_status (*log)(struct kennel_watchdog *self, const struct stage_log **log);
  /** How the hand-off is to be; the last call counts. */
  efi_status (*hand_off)(struct kennel_watchdog *self, const struct kennel_hand_off *hand_off);
} kennel_watchdog;
