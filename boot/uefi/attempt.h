/** This boot in the variable KennelBoot, and the notes that Linux left for it. */
#pragma once

#include "bootstate.h"
#include "efi.h"

/**
 * Counts this boot before anything that can hang: reads state and notes, opens the boot, stores it,
 * and only then removes the notes. Says what was found damaged and what could not be stored.
 */
void attempt_begin(enum reset_cause cause);

/** The watchdog was found late and tells more: the boot is opened again from what was read. */
void attempt_amend(enum reset_cause cause);

/** The state as stored; to be changed only together with `attempt_store`. */
struct boot_state *attempt_state(void);

/** False when the variable store takes no more. */
bool attempt_store(void);

/** Notes how far this boot is: the step about to be run, so that a hang in it is known by name. */
bool attempt_note(enum stage stage, const char *step, uint64_t uptime_ms);

/** Attempts allowed from the next boot on. */
void attempt_allow(uint64_t attempts_max);
