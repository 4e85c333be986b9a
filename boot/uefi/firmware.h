/** Helpers on top of UEFI that driver and loader share: console, variables, time. */
#pragma once

#include "efi.h"
#include "stagelog.h"

/** Set once, at the entry of each image. */
extern efi_system_table *firmware_system;
extern efi_boot_services *firmware_boot;

void firmware_begin(efi_system_table *system);

/**
 * Prints a line `kennel: ...`. `%s` takes text, `%d` an uint64_t, `%x` one in hexadecimal; every
 * argument is widened by the caller. Lines are cut at 240 characters.
 */
void say(const char *format, ...);

/** The counter's ticks per second; measured where the processor does not tell. */
uint64_t counter_hz(void);

/** Eight hexadecimal digits' worth of what differs from boot to boot; not for secrets. */
uint32_t boot_random(void);

/** Kennel's variables; names without the vendor's GUID. */
efi_status variable_get(const efi_char *name, void *data, size_t *bytes);
/** `is_kept`: non-volatile. Zero bytes delete the variable. */
efi_status variable_set(const efi_char *name, bool is_kept, const void *data, size_t bytes);

bool guid_equal(const efi_guid *one, const efi_guid *other);
