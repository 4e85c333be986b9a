/**
 * The loader: counts this boot, arms the watchdog, loads the kernel of the chosen slot with a
 * refresh per completed step, and starts it. Returns to the firmware only when no slot can be
 * loaded; the countdown then goes on.
 */
#include "attempt.h"
#include "config.h"
#include "files.h"
#include "firmware.h"
#include "guard.h"
#include "kernel.h"
#include "menu.h"
#include "plan.h"

static const char config_path[] = "\\EFI\\kennel\\boot.conf";
static const size_t driver_bytes_max = 4UL << 20;

static struct config config;

static void read_config(void) {
  config_defaults(&config);
  guard_step(&config, "read_config");
  struct file_content content;
  efi_status status = files_read(config_path, config_bytes_max, NULL, &content);
  if (efi_failed(status)) {
    say("no %s (status %x): booting with the defaults", config_path, status);
  } else {
    config_parse(&config, (const char *)content.bytes, content.count);
    files_free(&content);
  }
  if (config.bad_lines > 0) {
    say("%s: %d lines not understood, the first is line %d", config_path, config.bad_lines,
        config.first_bad);
  }
  attempt_allow(config.attempts_max);
  if (config.lab && text_equal(config.hang_step, "read_config")) guard_step(&config, "read_config");
  guard_done("read_config");
}

/** The driver from our own file system, where neither an option ROM nor Driver#### brought it. */
static void load_driver(void) {
  if (config.driver[0] == 0) return;
  struct file_content content;
  efi_handle image = NULL;
  if (efi_failed(files_read(config.driver, driver_bytes_max, NULL, &content))) return;
  efi_status status = files_load_image(&content, &image);
  files_free(&content);
  if (!efi_failed(status)) status = firmware_boot->start_image(image, NULL, NULL);
  if (efi_failed(status)) say("cannot start %s (status %x)", config.driver, status);
}

/** Counts, finds the watchdog and arms it: before anything is loaded where it is there already. */
static void protect(void) {
  enum reset_cause cause;
  bool is_found = guard_find(&cause);
  attempt_begin(cause);
  if (is_found) guard_arm(PLAN_WATCHDOG_MS);
  read_config();
  if (is_found) return guard_change(config.timeout_ms);
  load_driver();
  if (guard_find(&cause)) attempt_amend(cause);
  if (!guard_exists() && config.require) {
    say("no watchdog was found and the policy requires one");
    menu_stop();
  }
  if (!guard_exists()) say("no watchdog was found: this boot is not guarded");
  guard_arm(config.timeout_ms);
}

static void tell(void) {
  const struct boot_state *state = attempt_state();
  const struct boot_entry *previous = &state->previous;
  say("boot %s, slot %s, %d of %d attempts failed", state->current.id,
      slot_name(state->current.slot), boot_state_failures(state), state->attempts_max);
  if (previous->id[0] == 0) return;
  say("before: boot %s, slot %s, %s, ended: %s, in %s %s", previous->id, slot_name(previous->slot),
      previous->confirmed ? "confirmed" : "not confirmed", end_cause_name(previous->cause),
      stage_name(previous->stage), previous->step);
}

efi_status efi_main(efi_handle image, efi_system_table *system);

efi_status efi_main(efi_handle image, efi_system_table *system) {
  firmware_begin(system);
  // Firmware's own watchdog ends a boot after five minutes; ours is armed with what was asked for.
  firmware_boot->set_watchdog_timer(0, 0, 0, NULL);
  if (!files_begin(image)) return EFI_UNSUPPORTED;
  protect();
  tell();
  struct boot_state *state = attempt_state();
  enum slot chosen = menu_run(&config);
  if (chosen != slot_none) state->current.slot = chosen;
  // When nothing can be loaded the medium is to blame, not the slots: then none is given up.
  struct boot_state before = *state;
  for (enum slot slot = state->current.slot; slot != slot_none; slot = boot_state_give_up(state)) {
    say("loading slot %s", slot_name(slot));
    kernel_boot(&config, &config.slots[slot]);
    say("slot %s cannot be booted", slot_name(slot));
  }
  *state = before;
  attempt_store();
  say("no slot can be booted%s", guard_exists() ? ": the watchdog will reset the card" : "");
  return EFI_LOAD_ERROR;
}
