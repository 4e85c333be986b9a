/** Counting attempts on a fake variable store: full, damaged, and cut off at every write. */
#include <setjmp.h>
#include <string.h>

#include "attempt.h"
#include "firmware.h"
#include "tests.h"

enum { variables_max = 8, variable_bytes = 1024, name_characters = 32 };

struct variable {
  efi_char name[name_characters];
  uint32_t attributes;
  size_t bytes;
  uint8_t data[variable_bytes];
};

static struct {
  struct variable variables[variables_max];
  /** Writes until the power is cut; negative: it stays. */
  int writes_left;
  int is_full;
  jmp_buf cut;
} store;

static int same_name(const efi_char *one, const efi_char *other) {
  while (*one != 0 && *one == *other) one += 1, other += 1;
  return *one == *other;
}

/** The variable of this name, or a free one of no bytes. */
static struct variable *find(const efi_char *name) {
  struct variable *unused = NULL;
  for (int at = 0; at < variables_max; at += 1) {
    struct variable *variable = &store.variables[at];
    if (variable->bytes == 0)
      unused = variable;
    else if (same_name(variable->name, name))
      return variable;
  }
  return unused;
}

static efi_status get_variable(const efi_char *name, const efi_guid *vendor, uint32_t *attributes,
                               size_t *bytes, void *data) {
  (void)vendor, (void)attributes;
  const struct variable *variable = find(name);
  if (variable == NULL || variable->bytes == 0) return EFI_NOT_FOUND;
  size_t room = *bytes;
  *bytes = variable->bytes;
  if (room < variable->bytes) return EFI_BUFFER_TOO_SMALL;
  memcpy(data, variable->data, variable->bytes);
  return EFI_SUCCESS;
}

/** Firmware's store keeps the old value or the new one, whatever happens: so does this one. */
static efi_status set_variable(const efi_char *name, const efi_guid *vendor, uint32_t attributes,
                               size_t bytes, const void *data) {
  (void)vendor;
  if (store.writes_left == 0) longjmp(store.cut, 1);
  if (store.writes_left > 0) store.writes_left -= 1;
  struct variable *variable = find(name);
  if (variable == NULL || (store.is_full && bytes > 0)) return EFI_OUT_OF_RESOURCES;
  if (bytes == 0 && variable->bytes == 0) return EFI_NOT_FOUND;
  for (int at = 0; at < name_characters; at += 1) {
    variable->name[at] = name[at];
    if (name[at] == 0) break;
  }
  variable->attributes = attributes;
  variable->bytes = bytes;
  if (bytes > 0) memcpy(variable->data, data, bytes);
  return EFI_SUCCESS;
}

static efi_status get_time(efi_time *time, void *capabilities) {
  (void)capabilities;
  memset(time, 0, sizeof *time);
  return EFI_SUCCESS;
}

static efi_status get_count(uint64_t *count) {
  static uint64_t counted;
  *count = counted;
  counted += 1;
  return EFI_SUCCESS;
}

static void begin_store(void) {
  static efi_boot_services boot = {.get_next_monotonic_count = get_count};
  static efi_runtime_services runtime = {
      .get_time = get_time, .get_variable = get_variable, .set_variable = set_variable};
  static efi_system_table system = {.boot = &boot, .runtime = &runtime};
  memset(&store, 0, sizeof store);
  store.writes_left = -1;
  firmware_begin(&system);
}

static void leave_note(const efi_char *name, const char *text) {
  set_variable(name, NULL, 7, strlen(text), text);
}

/** A boot up to the hand-off; returns 1 when the power was cut in it. */
static int boot(enum reset_cause cause) {
  if (setjmp(store.cut) != 0) return 1;
  attempt_begin(cause);
  attempt_allow(3);
  attempt_note(stage_os_load, "load_kernel", 1000);
  attempt_note(stage_hand_off, "kernel_entry", 2000);
  return 0;
}

static void check_counting(void) {
  begin_store();
  boot(cause_unknown);
  EXPECT(attempt_state()->boots == 1 && attempt_state()->current.slot == slot_a);
  for (int failed = 0; failed < 3; failed += 1) boot(cause_watchdog);
  const struct boot_state *state = attempt_state();
  EXPECT(state->current.slot == slot_b && state->failures[slot_a] == 3);
  EXPECT(state->previous.stage == stage_hand_off && state->previous.cause == end_watchdog);
  EXPECT(text_equal(state->previous.step, "kernel_entry"));
  EXPECT(find(u"KennelBoot")->attributes == 7);
}

/** The watchdog tells late: the boot before is settled anew, and this boot stays one boot. */
static void check_amending(void) {
  begin_store();
  boot(cause_unknown);
  leave_note(u"KennelClosing", "clean");
  boot(cause_unknown);
  EXPECT(attempt_state()->previous.cause == end_clean && attempt_state()->failures[slot_a] == 0);
  attempt_amend(cause_watchdog);
  EXPECT(attempt_state()->previous.cause == end_watchdog);
  EXPECT(attempt_state()->failures[slot_a] == 1 && attempt_state()->boots == 2);
}

/** A confirmation is never lost, and the power being cut is never more than one more attempt. */
static void check_cuts(void) {
  int was_cut = 1;
  for (int writes = 0; was_cut; writes += 1) {
    begin_store();
    boot(cause_unknown);
    boot(cause_watchdog);
    boot(cause_watchdog);
    EXPECT(attempt_state()->failures[slot_a] == 2);
    leave_note(u"KennelConfirm", attempt_state()->current.id);
    store.writes_left = writes;
    was_cut = boot(cause_unknown);
    store.writes_left = -1;
    boot(cause_unknown);
    EXPECT(attempt_state()->current.slot == slot_a && attempt_state()->failures[slot_a] <= 1);
    EXPECT(find(u"KennelConfirm")->bytes == 0 ||
           !same_name(find(u"KennelConfirm")->name, u"KennelConfirm"));
  }
}

/** A full store boots on, and an attempt that could not be counted is not invented later. */
static void check_full(void) {
  begin_store();
  boot(cause_unknown);
  store.is_full = 1;
  boot(cause_watchdog);
  EXPECT(attempt_state()->current.slot == slot_a && !attempt_store());
  store.is_full = 0;
  boot(cause_watchdog);
  EXPECT(attempt_state()->boots == 2 && attempt_state()->failures[slot_a] == 1);
}

/** What is damaged counts as one short of the limit; foreign notes say nothing. */
static void check_damage(void) {
  begin_store();
  leave_note(u"KennelBoot", "this is no boot state");
  leave_note(u"KennelConfirm", "a confirmation that is far too long for the id of any boot");
  leave_note(u"KennelTrial", "c");
  leave_note(u"KennelClosing", "\x01\x02");
  boot(cause_unknown);
  EXPECT(attempt_state()->failures[slot_a] == 2 && attempt_state()->current.slot == slot_a);
  boot(cause_watchdog);
  EXPECT(attempt_state()->current.slot == slot_b);
}

void check_attempts(void) {
  check_counting();
  check_amending();
  check_cuts();
  check_full();
  check_damage();
}
