/** The watchdog as the loader uses it: there or not, refreshed by completed steps only. */
#pragma once

#include "config.h"
#include "efi.h"
#include "kennelwdt.h"

/** Looks for the API. True when it is there; `cause` gets what the hardware says. */
bool guard_find(enum reset_cause *cause);

/** False without a watchdog. */
bool guard_exists(void);

/** Begins stage os_load: arms with `timeout_ms`, or the device's maximum when that is refused. */
void guard_arm(uint64_t timeout_ms);

/** Another timeout for a countdown that runs; the old one stays when the device refuses. */
void guard_change(uint64_t timeout_ms);

/** Notes the step about to be run where it survives a reset, and hangs in it when the lab asks. */
void guard_step(const struct config *config, const char *name);

/** The step is complete: logged, and rewarded with a refresh within the stage's budget. */
void guard_done(const char *name);

/** A part of a step is complete: a refresh within the budget, not logged. */
void guard_progress(void);

/** A person holds the boot: refreshes without a completed step, to be called often. */
void guard_hold(uint64_t held_ms);

/** From now on ExitBootServices is the hand-off. False when firmware gives no event. */
bool guard_prepare_hand_off(bool lock);
