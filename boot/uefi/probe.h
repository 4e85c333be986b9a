/** Looks for a watchdog everywhere: on the PCI bus and in the ACPI tables. */
#pragma once

#include "watchdog.h"

/** True when one was found that works; the one with a lock first, the chipset's last. */
bool probe_all(struct watchdog *watchdog);
