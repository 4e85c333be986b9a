/**
 * A kernel for the laboratory: leaves boot services as Linux does, tries the watchdog API through a
 * pointer from before, and hangs for ever with interrupts off. What it finds goes to the UART.
 */
#include "arch.h"
#include "firmware.h"
#include "kennelwdt.h"

static const efi_guid api_guid = KENNEL_WATCHDOG_GUID;

#if defined(__x86_64__)
static void put(char character) {
  __asm__ volatile("outb %0, %1" : : "a"(character), "Nd"((uint16_t)0x3f8));
}
#else
static void put(char character) { *(volatile uint32_t *)0x09000000 = (uint32_t)character; }
#endif

static void put_text(const char *text) {
  for (; *text != 0; text += 1) put(*text);
}

static void put_status(const char *call, efi_status status) {
  put_text("spin: ");
  put_text(call);
  put_text(status == EFI_UNSUPPORTED ? " revoked\r\n" : " not revoked\r\n");
}

/** The map may change between the two calls: then once more, as the specification says. */
static efi_status leave(efi_handle image) {
  static uint8_t map[65536];
  efi_status status = EFI_LOAD_ERROR;
  for (int tries = 0; tries < 4 && efi_failed(status); tries += 1) {
    size_t bytes = sizeof map, key = 0, entry_bytes = 0;
    uint32_t version = 0;
    status = firmware_boot->get_memory_map(&bytes, map, &key, &entry_bytes, &version);
    if (!efi_failed(status)) status = firmware_boot->exit_boot_services(image, key);
  }
  return status;
}

efi_status efi_main(efi_handle image, efi_system_table *system);

efi_status efi_main(efi_handle image, efi_system_table *system) {
  firmware_begin(system);
  void *found = NULL;
  firmware_boot->locate_protocol(&api_guid, NULL, &found);
  kennel_watchdog *api = found;
  if (efi_failed(leave(image))) return EFI_LOAD_ERROR;
  arch_interrupts_off();
  put_text("spin: boot services are gone\r\n");
  if (api != NULL) {
    struct kennel_info info;
    uint64_t granted_ms = 0;
    put_status("info", api->info(api, &info));
    put_status("set_timeout", api->set_timeout(api, 0, &granted_ms));
    put_status("refresh", api->refresh(api));
    put_status("disable", api->disable(api));
    put_status("mark", api->mark(api, stage_adopt, "late"));
    struct kennel_hand_off nobody = {.lock = false};
    put_status("hand_off", api->hand_off(api, &nobody));
  }
  put_text("spin: hangs now\r\n");
  for (;;) arch_pause();
}
