#include "bootstate.h"

#include "cbor.h"
#include "seal.h"

static const char magic[4] = {'K', 'N', 'L', 'B'};
static const uint64_t version = 1;
/** More attempts than anybody wants, and a bound on what a damaged counter can do. */
static const uint64_t attempts_limit = 100;
static const char *const slot_names[] = {"a", "b", "safe"};
static const char *const cause_names[] = {"unknown",   "power", "watchdog",
                                          "commanded", "clean", "panic"};
enum { slots_count = 3, causes_count = 6, stages_count = 5 };

bool text_equal(const char *one, const char *other) {
  for (; *one != 0 && *one == *other; one += 1) other += 1;
  return *one == *other;
}

const char *slot_name(enum slot slot) { return slot_names[slot]; }

enum slot slot_named(const char *name) {
  for (unsigned at = 0; at < slots_count; at += 1) {
    if (text_equal(name, slot_names[at])) return (enum slot)at;
  }
  return slot_none;
}

const char *end_cause_name(enum end_cause cause) { return cause_names[cause]; }

enum end_cause end_cause_named(const char *name) {
  for (unsigned at = 0; at < causes_count; at += 1) {
    if (text_equal(name, cause_names[at])) return (enum end_cause)at;
  }
  return end_unknown;
}

struct boot_state boot_state_empty(bool lost, uint64_t attempts_max) {
  uint64_t failures = lost && attempts_max > 0 ? attempts_max - 1 : 0;
  return (struct boot_state){
      .active = slot_a,
      .trial = slot_none,
      .failures = {failures, failures},
      .attempts_max = attempts_max,
  };
}

/** A healthy boot makes its slot the active one and clears its failures. */
static void take_confirmation(struct boot_state *state, const struct boot_notes *notes) {
  struct boot_entry *boot = &state->current;
  if (boot->id[0] == 0 || !text_equal(boot->id, notes->confirmed)) return;
  boot->confirmed = true;
  if (boot->slot == slot_safe) return;
  state->active = boot->slot;
  state->failures[boot->slot] = 0;
}

/** The hardware's word stands above a note: a reboot that was asked for may hang. */
static enum end_cause settle(enum reset_cause cause, enum end_cause noted) {
  if (cause == cause_watchdog) return end_watchdog;
  if (noted != end_unknown && !(cause == cause_power && noted == end_watchdog)) return noted;
  return cause == cause_power ? end_power : end_unknown;
}

static bool is_failure(const struct boot_entry *boot) {
  if (boot->confirmed) return false;
  return boot->cause == end_watchdog || boot->cause == end_panic || boot->cause == end_unknown;
}

/** The active slot until it failed too often, then the other one, then safe, for good. */
static enum slot choose(struct boot_state *state, bool failed) {
  enum slot active = state->active;
  if (active == slot_safe || !failed || state->failures[active] < state->attempts_max) {
    return active;
  }
  enum slot other = active == slot_a ? slot_b : slot_a;
  state->active = state->failures[other] < state->attempts_max ? other : slot_safe;
  return state->active;
}

static void write_id(char *to, uint64_t number, uint32_t random) {
  char digits[20];
  size_t count = 0;
  do {
    digits[count] = (char)('0' + number % 10);
    count += 1;
    number /= 10;
  } while (number > 0);
  for (size_t at = 0; at < count; at += 1) to[at] = digits[count - 1 - at];
  to[count] = '-';
  for (unsigned at = 0; at < 8; at += 1) {
    to[count + 1 + at] = "0123456789abcdef"[random >> (28 - 4 * at) & 0xf];
  }
  to[count + 9] = 0;
}

void boot_state_begin(struct boot_state *state, const struct boot_notes *notes,
                      enum reset_cause cause, uint32_t random) {
  take_confirmation(state, notes);
  if (notes->trial == slot_a || notes->trial == slot_b) {
    state->trial = notes->trial;
    state->failures[notes->trial] = 0;
  }
  bool failed = false;
  if (state->current.id[0] != 0) {
    state->previous = state->current;
    state->previous.cause = settle(cause, notes->closing);
    failed = is_failure(&state->previous);
    enum slot slot = state->previous.slot;
    if (failed && slot != slot_safe) state->failures[slot] += 1;
  }
  enum slot slot = state->trial != slot_none ? state->trial : choose(state, failed);
  state->trial = slot_none;
  state->boots += 1;
  state->current = (struct boot_entry){.slot = slot, .stage = stage_power_on};
  write_id(state->current.id, state->boots, random);
}

enum slot boot_state_give_up(struct boot_state *state) {
  enum slot slot = state->current.slot;
  if (slot == slot_safe) return slot_none;
  if (state->failures[slot] < state->attempts_max) state->failures[slot] = state->attempts_max;
  state->current.slot = choose(state, true);
  return state->current.slot;
}

uint64_t boot_state_failures(const struct boot_state *state) {
  enum slot slot = state->current.slot;
  return slot == slot_safe ? state->attempts_max : state->failures[slot];
}

static void put_entry(struct cbor_writer *writer, const char *key, const struct boot_entry *entry) {
  cbor_put_text(writer, key);
  cbor_put_map(writer, 7);
  cbor_put_text_member(writer, "boot", entry->id);
  cbor_put_text_member(writer, "slot", slot_name(entry->slot));
  cbor_put_text_member(writer, "stage", stage_name(entry->stage));
  cbor_put_text_member(writer, "step", entry->step);
  cbor_put_uint_member(writer, "uptime_ms", entry->uptime_ms);
  cbor_put_bool_member(writer, "confirmed", entry->confirmed);
  cbor_put_text_member(writer, "cause", end_cause_name(entry->cause));
}

size_t boot_state_encode(const struct boot_state *state, uint8_t *bytes, size_t capacity) {
  if (capacity < seal_bytes) return 0;
  struct cbor_writer writer = {bytes + seal_header_bytes, 0, capacity - seal_bytes, false};
  size_t optional =
      (state->trial != slot_none) + (state->current.id[0] != 0) + (state->previous.id[0] != 0);
  cbor_put_map(&writer, 5 + optional);
  cbor_put_uint_member(&writer, "version", version);
  cbor_put_uint_member(&writer, "boots", state->boots);
  cbor_put_text_member(&writer, "active", slot_name(state->active));
  if (state->trial != slot_none) cbor_put_text_member(&writer, "trial", slot_name(state->trial));
  cbor_put_text(&writer, "failures");
  cbor_put_map(&writer, 2);
  cbor_put_uint_member(&writer, "a", state->failures[slot_a]);
  cbor_put_uint_member(&writer, "b", state->failures[slot_b]);
  cbor_put_uint_member(&writer, "attempts_max", state->attempts_max);
  if (state->current.id[0] != 0) put_entry(&writer, "current", &state->current);
  if (state->previous.id[0] != 0) put_entry(&writer, "previous", &state->previous);
  return writer.failed ? 0 : seal(bytes, magic, writer.count);
}

/** A name out of a list, else `failed`. */
static unsigned get_named(struct cbor_reader *reader, unsigned (*find)(const char *),
                          unsigned count) {
  char name[16];
  cbor_get_text(reader, name, sizeof name);
  unsigned found = find(name);
  if (found >= count) reader->failed = true;
  return reader->failed ? 0 : found;
}

static unsigned find_slot(const char *name) { return (unsigned)slot_named(name); }

static unsigned find_stage(const char *name) {
  for (unsigned at = 0; at < stages_count; at += 1) {
    if (text_equal(name, stage_name((enum stage)at))) return at;
  }
  return stages_count;
}

static unsigned find_cause(const char *name) {
  for (unsigned at = 0; at < causes_count; at += 1) {
    if (text_equal(name, cause_names[at])) return at;
  }
  return causes_count;
}

enum { key_bytes = 16 };

static void get_entry(struct cbor_reader *reader, struct boot_entry *entry) {
  for (size_t left = cbor_get_map(reader); left > 0 && !reader->failed; left -= 1) {
    char key[key_bytes];
    cbor_get_text(reader, key, sizeof key);
    if (text_equal(key, "boot"))
      cbor_get_text(reader, entry->id, sizeof entry->id);
    else if (text_equal(key, "slot"))
      entry->slot = (enum slot)get_named(reader, find_slot, slots_count);
    else if (text_equal(key, "stage"))
      entry->stage = (enum stage)get_named(reader, find_stage, stages_count);
    else if (text_equal(key, "step"))
      cbor_get_text(reader, entry->step, sizeof entry->step);
    else if (text_equal(key, "uptime_ms"))
      entry->uptime_ms = cbor_get_uint(reader);
    else if (text_equal(key, "confirmed"))
      entry->confirmed = cbor_get_bool(reader);
    else if (text_equal(key, "cause"))
      entry->cause = (enum end_cause)get_named(reader, find_cause, causes_count);
    else
      cbor_skip(reader);
  }
}

static void get_failures(struct cbor_reader *reader, uint64_t failures[2]) {
  for (size_t left = cbor_get_map(reader); left > 0 && !reader->failed; left -= 1) {
    char key[key_bytes];
    cbor_get_text(reader, key, sizeof key);
    if (text_equal(key, "a"))
      failures[slot_a] = cbor_get_uint(reader);
    else if (text_equal(key, "b"))
      failures[slot_b] = cbor_get_uint(reader);
    else
      cbor_skip(reader);
  }
}

static uint64_t get_member(struct cbor_reader *reader, struct boot_state *state) {
  char key[key_bytes];
  cbor_get_text(reader, key, sizeof key);
  if (text_equal(key, "version")) return cbor_get_uint(reader);
  if (text_equal(key, "boots"))
    state->boots = cbor_get_uint(reader);
  else if (text_equal(key, "active"))
    state->active = (enum slot)get_named(reader, find_slot, slots_count);
  else if (text_equal(key, "trial"))
    state->trial = (enum slot)get_named(reader, find_slot, 2);
  else if (text_equal(key, "failures"))
    get_failures(reader, state->failures);
  else if (text_equal(key, "attempts_max"))
    state->attempts_max = cbor_get_uint(reader);
  else if (text_equal(key, "current"))
    get_entry(reader, &state->current);
  else if (text_equal(key, "previous"))
    get_entry(reader, &state->previous);
  else
    cbor_skip(reader);
  return 0;
}

bool boot_state_decode(struct boot_state *state, const uint8_t *bytes, size_t count) {
  size_t data_bytes = 0;
  const uint8_t *data = unseal(bytes, count, magic, &data_bytes);
  if (data == NULL) return false;
  struct cbor_reader reader = {data, 0, data_bytes, false};
  struct boot_state read = boot_state_empty(false, 0);
  uint64_t found = 0;
  for (size_t left = cbor_get_map(&reader); left > 0 && !reader.failed; left -= 1) {
    found += get_member(&reader, &read);
  }
  if (reader.failed || reader.at != reader.count || found != version) return false;
  if (read.attempts_max < 1 || read.attempts_max > attempts_limit) return false;
  for (unsigned at = 0; at < 2; at += 1) {
    if (read.failures[at] > attempts_limit) read.failures[at] = attempts_limit;
  }
  *state = read;
  return true;
}
