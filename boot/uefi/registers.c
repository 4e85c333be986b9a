#include "registers.h"

static uint32_t direct_read(uint64_t at, unsigned bytes) {
  if (bytes == 1) return *(volatile uint8_t *)at;
  if (bytes == 2) return *(volatile uint16_t *)at;
  return *(volatile uint32_t *)at;
}

static void direct_write(uint64_t at, unsigned bytes, uint32_t value) {
  if (bytes == 1)
    *(volatile uint8_t *)at = (uint8_t)value;
  else if (bytes == 2)
    *(volatile uint16_t *)at = (uint16_t)value;
  else
    *(volatile uint32_t *)at = value;
}

static efi_pci_width width_of(unsigned bytes) {
  return bytes == 1 ? EFI_WIDTH_8 : bytes == 2 ? EFI_WIDTH_16 : EFI_WIDTH_32;
}

static uint32_t pci_read(void *context, enum register_space space, uint64_t at, unsigned bytes) {
  efi_pci_io *pci = context;
  efi_pci_width width = width_of(bytes);
  uint32_t value = 0;
  efi_status status = EFI_UNSUPPORTED;
  if (space == space_config) status = pci->config_read(pci, width, (uint32_t)at, 1, &value);
  if (space == space_bar0) status = pci->memory_read(pci, width, 0, at, 1, &value);
  if (space == space_io) status = pci->io_read(pci, width, EFI_PCI_BAR_NONE, at, 1, &value);
  if (space == space_memory) return direct_read(at, bytes);
  return efi_failed(status) ? UINT32_MAX >> (32 - 8 * bytes) : value;
}

static void pci_write(void *context, enum register_space space, uint64_t at, unsigned bytes,
                      uint32_t value) {
  efi_pci_io *pci = context;
  efi_pci_width width = width_of(bytes);
  if (space == space_config) pci->config_write(pci, width, (uint32_t)at, 1, &value);
  if (space == space_bar0) pci->memory_write(pci, width, 0, at, 1, &value);
  if (space == space_io) pci->io_write(pci, width, EFI_PCI_BAR_NONE, at, 1, &value);
  if (space == space_memory) direct_write(at, bytes, value);
}

static uint32_t memory_read(void *context, enum register_space space, uint64_t at, unsigned bytes) {
  (void)context;
  return space == space_memory ? direct_read(at, bytes) : UINT32_MAX >> (32 - 8 * bytes);
}

static void memory_write(void *context, enum register_space space, uint64_t at, unsigned bytes,
                         uint32_t value) {
  (void)context;
  if (space == space_memory) direct_write(at, bytes, value);
}

struct registers pci_registers(efi_pci_io *pci) {
  return (struct registers){.context = pci, .read = pci_read, .write = pci_write};
}

struct registers memory_registers(void) {
  return (struct registers){.context = NULL, .read = memory_read, .write = memory_write};
}
