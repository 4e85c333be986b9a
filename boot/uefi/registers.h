/** Registers behind a PCI device, for the probes of watchdog.h. */
#pragma once

#include "efi.h"
#include "watchdog.h"

/** Reads and writes through `pci`; absolute memory without a device goes straight to the address.
 */
struct registers pci_registers(efi_pci_io *pci);

/** Absolute memory only. */
struct registers memory_registers(void);
