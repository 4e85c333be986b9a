/**
 * What firmware keeps from boot to boot, in the non-volatile variable KennelBoot: which slot to
 * boot, how often it failed in a row, how far this boot and the one before came. The same rules as
 * agent/machines/bootrecord.ts, with as much of the past as firmware needs: one boot.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stagelog.h"
#include "watchdog.h"

enum slot { slot_a, slot_b, slot_safe, slot_none };

/** Why a boot ended, as in agent/machines/bootrecord.ts. */
enum end_cause {
  end_unknown,
  end_power,
  end_watchdog,
  end_commanded,
  end_clean,
  end_panic,
};

enum {
  /** `<number>-<8 hex digits>` with its terminating zero. */
  boot_id_bytes = 32,
  /** A sealed state is never longer. */
  boot_state_bytes = 640,
};

struct boot_entry {
  /** Empty: there is no such boot. */
  char id[boot_id_bytes];
  enum slot slot;
  enum stage stage;
  char step[step_name_bytes];
  uint64_t uptime_ms;
  bool confirmed;
  /** Known of the boot before only. */
  enum end_cause cause;
};

struct boot_state {
  uint64_t boots;
  enum slot active;
  /** slot_none: there is no trial. */
  enum slot trial;
  /** Failed boots of slot a and b in a row. */
  uint64_t failures[2];
  uint64_t attempts_max;
  struct boot_entry current, previous;
};

/** What Linux left for the next boot; see notes in boot/README.md. */
struct boot_notes {
  /** The id of a boot that proved healthy; empty without one. */
  char confirmed[boot_id_bytes];
  /** Why the boot ended, when that was known before; end_unknown without a note. */
  enum end_cause closing;
  /** The slot to try once; slot_none without one. */
  enum slot trial;
};

/** The state of a card that has none; `lost`: there was one, and it is damaged. */
struct boot_state boot_state_empty(bool lost, uint64_t attempts_max);

/**
 * Opens a boot: takes the notes in, settles why the boot before ended, counts it as failed or not,
 * and chooses the slot. To be stored before anything that can hang.
 */
void boot_state_begin(struct boot_state *state, const struct boot_notes *notes,
                      enum reset_cause cause, uint32_t random);

/** The current slot cannot be loaded at all: it counts as given up, and another one is chosen. */
enum slot boot_state_give_up(struct boot_state *state);

/** Failed boots in a row of the current slot, this boot not counted. */
uint64_t boot_state_failures(const struct boot_state *state);

/** Gives the bytes of the sealed state; 0 when `capacity` does not do. */
size_t boot_state_encode(const struct boot_state *state, uint8_t *bytes, size_t capacity);

/** False when the bytes are damaged, foreign or of another version; `state` is then untouched. */
bool boot_state_decode(struct boot_state *state, const uint8_t *bytes, size_t count);

const char *slot_name(enum slot slot);
/** slot_none for what is no slot. */
enum slot slot_named(const char *name);
const char *end_cause_name(enum end_cause cause);
/** end_unknown for what is no cause. */
enum end_cause end_cause_named(const char *name);
bool text_equal(const char *one, const char *other);
