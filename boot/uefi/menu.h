/** The console before loading: a person may hold the boot, explicitly and for a bounded time. */
#pragma once

#include "bootstate.h"
#include "config.h"

/** Waits for a key as long as configured. The slot a person chose, or slot_none. */
enum slot menu_run(const struct config *config);

/** Waits for a key without end, then restarts the card. */
void menu_stop(void);
