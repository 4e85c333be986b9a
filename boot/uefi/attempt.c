#include "attempt.h"

#include "firmware.h"
#include "plan.h"

static const efi_char state_name[] = u"KennelBoot";
static const efi_char confirm_name[] = u"KennelConfirm";
static const efi_char closing_name[] = u"KennelClosing";
static const efi_char trial_name[] = u"KennelTrial";

static struct {
  /** As read, before this boot was opened. */
  struct boot_state found;
  struct boot_state state;
  struct boot_notes notes;
  uint32_t random;
  bool store_failed;
} attempt;

struct boot_state *attempt_state(void) {
  return &attempt.state;
}

bool attempt_store(void) {
  static uint8_t bytes[boot_state_bytes];
  size_t count = boot_state_encode(&attempt.state, bytes, sizeof bytes);
  return count > 0 && !efi_failed(variable_set(state_name, true, bytes, count));
}

static struct boot_state read_state(void) {
  static uint8_t bytes[boot_state_bytes];
  struct boot_state state = boot_state_empty(false, PLAN_ATTEMPTS_MAX);
  size_t count = sizeof bytes;
  efi_status status = variable_get(state_name, bytes, &count);
  if (status == EFI_NOT_FOUND) return state;
  if (!efi_failed(status) && boot_state_decode(&state, bytes, count)) return state;
  say("the boot state is damaged: counted as one attempt short of the limit");
  return boot_state_empty(true, PLAN_ATTEMPTS_MAX);
}

/** A short note in ASCII; empty when there is none or it is no text. */
static void read_note(const efi_char *name, char *to, size_t bytes) {
  size_t count = bytes - 1;
  if (efi_failed(variable_get(name, to, &count))) count = 0;
  for (size_t at = 0; at < count; at += 1) {
    if (to[at] < 0x20 || to[at] > 0x7e) count = at;
  }
  to[count] = 0;
}

static void read_notes(struct boot_notes *notes) {
  char text[16];
  read_note(confirm_name, notes->confirmed, sizeof notes->confirmed);
  read_note(closing_name, text, sizeof text);
  notes->closing = end_cause_named(text);
  read_note(trial_name, text, sizeof text);
  notes->trial = slot_named(text);
}

static void open_boot(enum reset_cause cause) {
  attempt.state = attempt.found;
  boot_state_begin(&attempt.state, &attempt.notes, cause, attempt.random);
  bool is_stored = attempt_store();
  if (!is_stored && !attempt.store_failed) {
    say("this attempt cannot be counted: the variable store takes no more");
  }
  attempt.store_failed = !is_stored;
}

void attempt_begin(enum reset_cause cause) {
  attempt.random = boot_random();
  attempt.found = read_state();
  read_notes(&attempt.notes);
  open_boot(cause);
  // Were the power cut here, the notes would be read again, and would not match this boot's id.
  variable_set(confirm_name, true, NULL, 0);
  variable_set(closing_name, true, NULL, 0);
  variable_set(trial_name, true, NULL, 0);
}

void attempt_amend(enum reset_cause cause) {
  if (cause == cause_unknown) return;
  uint64_t attempts_max = attempt.state.attempts_max;
  struct boot_entry current = attempt.state.current;
  open_boot(cause);
  attempt_allow(attempts_max);
  // The boot is begun anew, and is as far as it was.
  attempt_note(current.stage, current.step, current.uptime_ms);
}

bool attempt_note(enum stage stage, const char *step, uint64_t uptime_ms) {
  struct boot_entry *current = &attempt.state.current;
  current->stage = stage;
  copy_text(current->step, sizeof current->step, step);
  current->uptime_ms = uptime_ms;
  return attempt_store();
}

void attempt_allow(uint64_t attempts_max) { attempt.state.attempts_max = attempts_max; }
