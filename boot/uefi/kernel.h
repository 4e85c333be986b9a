/** Loads one slot's kernel and initrd and starts it. */
#pragma once

#include "config.h"
#include "efi.h"

/** Returns only when the slot could not be loaded, or its kernel gave up before the hand-off. */
efi_status kernel_boot(const struct config *config, const struct config_slot *slot);
