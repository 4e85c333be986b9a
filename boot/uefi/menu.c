#include "menu.h"

#include "firmware.h"
#include "guard.h"

static const uint64_t poll_ms = 50, refresh_every_ms = 500;

static bool read_key(efi_char *key) {
  efi_text_input *console = firmware_system->console_in;
  efi_input_key pressed;
  if (console == NULL || efi_failed(console->read_key(console, &pressed))) return false;
  *key = pressed.character;
  return true;
}

/** True when a key came within `wait_ms`. */
static bool wait_key(uint64_t wait_ms, efi_char *key) {
  for (uint64_t waited = 0; waited < wait_ms; waited += poll_ms) {
    if (read_key(key)) return true;
    firmware_boot->stall((size_t)poll_ms * 1000);
  }
  return false;
}

static enum slot hold(uint64_t hold_max_ms) {
  say("held for at most %d s: a, b or s boots that slot, Enter boots on", hold_max_ms / 1000);
  for (uint64_t held = 0; held < hold_max_ms; held += refresh_every_ms) {
    efi_char key = 0;
    bool is_pressed = wait_key(refresh_every_ms, &key);
    guard_hold(refresh_every_ms);
    if (!is_pressed) continue;
    if (key == 'a') return slot_a;
    if (key == 'b') return slot_b;
    if (key == 's') return slot_safe;
    if (key == '\r') return slot_none;
  }
  say("the hold is over");
  return slot_none;
}

enum slot menu_run(const struct config *config) {
  if (config->menu_ms == 0) return slot_none;
  efi_char key = 0;
  while (read_key(&key)) continue;
  say("press a key within %d s to hold the boot", config->menu_ms / 1000);
  bool is_pressed = wait_key(config->menu_ms, &key);
  enum slot chosen = is_pressed ? hold(config->hold_max_ms) : slot_none;
  guard_done("menu");
  return chosen;
}

void menu_stop(void) {
  say("stopped: press a key to restart the card");
  efi_char key = 0;
  while (!wait_key(60000, &key)) continue;
  firmware_system->runtime->reset_system(EFI_RESET_COLD, EFI_SUCCESS, 0, NULL);
}
