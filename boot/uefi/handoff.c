#include "handoff.h"

#include "cbor.h"
#include "seal.h"

static const char magic[4] = {'K', 'N', 'L', 'H'};
static const uint64_t version = 1;

static void put_countdown(struct cbor_writer *writer, const struct hand_off *record) {
  cbor_put_text(writer, "countdown");
  cbor_put_map(writer, 6);
  cbor_put_uint_member(writer, "min_ms", record->min_ms);
  cbor_put_uint_member(writer, "max_ms", record->max_ms);
  cbor_put_uint_member(writer, "granted_ms", record->handed.granted_ms);
  cbor_put_uint_member(writer, "remaining_ms", record->handed.remaining_ms);
  cbor_put_uint_member(writer, "refreshed_ms", record->refreshed_ms);
  cbor_put_bool_member(writer, "locked", record->handed.locked);
}

/** Who kept the watchdog in a stage; see machines/stagelog.ts. */
static const char *keeper(const struct hand_off *record, enum stage stage) {
  if (!record->has_countdown || stage == stage_power_on) return "nobody";
  return stage == stage_os_load ? "firmware" : "countdown";
}

static void put_stage(struct cbor_writer *writer, const struct hand_off *record,
                      const struct stage_entry *stage) {
  const struct stage_log *log = record->log;
  cbor_put_map(writer, stage->ended ? 5 : 4);
  cbor_put_text_member(writer, "stage", stage_name(stage->stage));
  cbor_put_uint_member(writer, "start_ms", stage_log_ms(log, stage->start));
  if (stage->ended) cbor_put_uint_member(writer, "end_ms", stage_log_ms(log, stage->end));
  cbor_put_text_member(writer, "by", keeper(record, stage->stage));
  cbor_put_text(writer, "steps");
  cbor_put_list(writer, stage->steps_count);
  for (size_t at = 0; at < stage->steps_count; at += 1) {
    cbor_put_map(writer, 2);
    cbor_put_text_member(writer, "name", stage->steps[at].name);
    cbor_put_uint_member(writer, "at_ms", stage_log_ms(log, stage->steps[at].counter));
  }
}

static void put_previous(struct cbor_writer *writer, const struct boot_entry *previous) {
  cbor_put_text(writer, "previous");
  cbor_put_map(writer, 7);
  cbor_put_text_member(writer, "boot", previous->id);
  cbor_put_text_member(writer, "slot", slot_name(previous->slot));
  cbor_put_text_member(writer, "stage", stage_name(previous->stage));
  cbor_put_text_member(writer, "step", previous->step);
  cbor_put_uint_member(writer, "uptime_ms", previous->uptime_ms);
  cbor_put_bool_member(writer, "confirmed", previous->confirmed);
  cbor_put_text_member(writer, "cause", end_cause_name(previous->cause));
}

static const char *cause_name(enum reset_cause cause) {
  return cause == cause_watchdog ? "watchdog" : cause == cause_power ? "power" : "unknown";
}

size_t hand_off_encode(const struct hand_off *record, uint8_t *bytes, size_t capacity) {
  if (capacity < seal_bytes) return 0;
  struct cbor_writer writer = {bytes + seal_header_bytes, 0, capacity - seal_bytes, false};
  const struct boot_state *state = record->state;
  bool has_previous = state->previous.id[0] != 0;
  cbor_put_map(&writer, 9 + (size_t)record->has_countdown + (size_t)has_previous);
  cbor_put_uint_member(&writer, "version", version);
  cbor_put_text_member(&writer, "boot", state->current.id);
  cbor_put_text_member(&writer, "slot", slot_name(state->current.slot));
  cbor_put_uint_member(&writer, "failures", boot_state_failures(state));
  cbor_put_uint_member(&writer, "attempts_max", state->attempts_max);
  cbor_put_text_member(&writer, "backend", record->backend);
  if (record->has_countdown) put_countdown(&writer, record);
  cbor_put_text_member(&writer, "hardware_cause", cause_name(record->cause));
  if (has_previous) put_previous(&writer, &state->previous);
  cbor_put_text(&writer, "counter");
  cbor_put_map(&writer, 2);
  cbor_put_uint_member(&writer, "hz", record->log->hz);
  cbor_put_uint_member(&writer, "zero", record->log->zero);
  cbor_put_text(&writer, "stages");
  cbor_put_list(&writer, record->log->count);
  for (size_t at = 0; at < record->log->count; at += 1) {
    put_stage(&writer, record, &record->log->stages[at]);
  }
  return writer.failed ? 0 : seal(bytes, magic, writer.count);
}
