#include "probe.h"

#include "arch.h"
#include "firmware.h"
#include "registers.h"

static const efi_guid pci_guid = EFI_PCI_IO_GUID;
static const efi_guid acpi_guid = EFI_ACPI_20_TABLE_GUID;

/** Tries one probe on every PCI device. */
static bool probe_pci(struct watchdog *watchdog, bool (*probe)(struct watchdog *watchdog)) {
  size_t count = 0;
  efi_handle *handles = NULL;
  if (efi_failed(firmware_boot->locate_handle_buffer(EFI_BY_PROTOCOL, &pci_guid, NULL, &count,
                                                     &handles))) {
    return false;
  }
  bool is_found = false;
  for (size_t at = 0; at < count && !is_found; at += 1) {
    efi_pci_io *pci = NULL;
    if (efi_failed(firmware_boot->handle_protocol(handles[at], &pci_guid, (void **)&pci))) continue;
    *watchdog = (struct watchdog){.registers = pci_registers(pci)};
    is_found = probe(watchdog);
  }
  firmware_boot->free_pool(handles);
  return is_found;
}

static bool i6300esb(struct watchdog *watchdog) {
  if (register_read(watchdog, space_config, 0, 4) != 0x25ab8086) return false;
  // Firmware need not have switched the registers of a device on that it has no driver for.
  efi_pci_io *pci = watchdog->registers.context;
  pci->attributes(pci, EFI_PCI_ENABLE, EFI_PCI_ATTRIBUTE_MEMORY, NULL);
  return i6300esb_probe(watchdog);
}

static uint32_t get_u32(const uint8_t *from) {
  return (uint32_t)from[3] << 24 | (uint32_t)from[2] << 16 | (uint32_t)from[1] << 8 | from[0];
}

static uint64_t get_u64(const uint8_t *from) {
  return (uint64_t)get_u32(from + 4) << 32 | get_u32(from);
}

/** The ACPI table of a signature, through RSDP and XSDT (ACPI 6.5, 5.2.5 to 5.2.8), or NULL. */
static const uint8_t *acpi_table(uint32_t signature) {
  const uint8_t *root = NULL;
  for (size_t at = 0; at < firmware_system->table_entries; at += 1) {
    if (guid_equal(&firmware_system->tables[at].vendor, &acpi_guid)) {
      root = firmware_system->tables[at].table;
    }
  }
  if (root == NULL) return NULL;
  const uint8_t *list = (const uint8_t *)get_u64(root + 24);
  if (list == NULL) return NULL;
  uint32_t bytes = get_u32(list + 4);
  for (uint32_t at = 36; at + 8 <= bytes; at += 8) {
    const uint8_t *table = (const uint8_t *)get_u64(list + at);
    if (table != NULL && get_u32(table) == signature) return table;
  }
  return NULL;
}

static bool sbsa(struct watchdog *watchdog) {
  static const uint32_t gtdt_signature = 0x54445447;
  const uint8_t *gtdt = acpi_table(gtdt_signature);
  if (gtdt == NULL) return false;
  *watchdog = (struct watchdog){.registers = memory_registers()};
  return sbsa_probe(watchdog, gtdt, get_u32(gtdt + 4), arch_counter_hz());
}

bool probe_all(struct watchdog *watchdog) {
  return probe_pci(watchdog, i6300esb) || sbsa(watchdog) || probe_pci(watchdog, tco_probe);
}
