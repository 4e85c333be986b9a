#include "guard.h"

#include "arch.h"
#include "attempt.h"
#include "firmware.h"
#include "handoff.h"
#include "plan.h"

static const efi_guid api_guid = KENNEL_WATCHDOG_GUID;
static const efi_char record_name[] = u"KennelHandOff";

static struct {
  /** NULL without a watchdog. */
  kennel_watchdog *api;
  struct kennel_info info;
  /** The driver's, or ours where there was no driver when we began. */
  const struct stage_log *log;
  struct stage_log own_log;
  /** When os_load began, and how much of it a person held the boot. */
  uint64_t load_started_ms, held_ms;
  bool over_budget;
  efi_event exit_event;
} guard;

static uint64_t now_ms(void) { return stage_log_ms(guard.log, arch_counter()); }

static void mark(enum stage stage, const char *step) {
  if (guard.log == &guard.own_log)
    stage_log_mark(&guard.own_log, stage, step, arch_counter());
  else
    guard.api->mark(guard.api, stage, step);
}

static void begin_own_log(void) {
  guard.own_log = (struct stage_log){.hz = counter_hz(), .zero = arch_counter()};
  stage_log_mark(&guard.own_log, stage_power_on, "", guard.own_log.zero);
  guard.log = &guard.own_log;
}

static kennel_watchdog *locate(void) {
  void *found = NULL;
  if (efi_failed(firmware_boot->locate_protocol(&api_guid, NULL, &found))) return NULL;
  kennel_watchdog *api = found;
  bool is_ours = api->revision == KENNEL_WATCHDOG_REVISION;
  return is_ours && !efi_failed(api->info(api, &guard.info)) ? api : NULL;
}

bool guard_find(enum reset_cause *cause) {
  bool is_late = guard.log != NULL;
  guard.api = locate();
  bool is_found = guard.api != NULL;
  *cause = is_found ? guard.info.cause : cause_unknown;
  if (is_found && is_late) mark(stage_os_load, "api_install");
  bool has_log = is_late || (is_found && !efi_failed(guard.api->log(guard.api, &guard.log)));
  if (!has_log) begin_own_log();
  return is_found;
}

bool guard_exists(void) { return guard.api != NULL; }

static bool arm(uint64_t timeout_ms) {
  uint64_t wanted_ms = timeout_ms == 0 ? guard.info.max_ms : timeout_ms;
  uint64_t granted_ms = 0;
  efi_status status = guard.api->set_timeout(guard.api, wanted_ms, &granted_ms);
  if (efi_failed(status)) {
    say("the watchdog refused %d ms (%d to %d ms)", wanted_ms, guard.info.min_ms,
        guard.info.max_ms);
    return false;
  }
  guard.info.granted_ms = granted_ms;
  guard.info.running = true;
  say("armed %s with %d ms", guard.info.backend, granted_ms);
  return true;
}

void guard_arm(uint64_t timeout_ms) {
  mark(stage_os_load, "");
  guard.load_started_ms = now_ms();
  if (guard.api == NULL || arm(timeout_ms)) return;
  mark(stage_os_load, "timeout_refused");
  if (!arm(0)) say("the watchdog cannot be armed: this boot is not guarded");
}

void guard_change(uint64_t timeout_ms) {
  uint64_t wanted_ms = timeout_ms == 0 ? guard.info.max_ms : timeout_ms;
  if (guard.api == NULL || wanted_ms == guard.info.granted_ms) return;
  if (!arm(timeout_ms)) mark(stage_os_load, "timeout_refused");
}

static void hang(bool is_high) {
  say("lab: hangs now%s", is_high ? " at the highest priority" : "");
  if (is_high) firmware_boot->raise_tpl(TPL_HIGH_LEVEL);
  for (;;) arch_pause();
}

void guard_step(const struct config *config, const char *name) {
  attempt_note(stage_os_load, name, now_ms());
  say("%s", name);
  if (!config->lab) return;
  bool is_here =
      config->hang_slot == slot_none || config->hang_slot == attempt_state()->current.slot;
  if (is_here && text_equal(config->hang_step, name)) hang(config->hang_high);
  if (config->slow_ms > 0) firmware_boot->stall((size_t)config->slow_ms * 1000);
}

/** A load that goes on for ever is no progress: beyond the budget nothing earns a refresh. */
static bool within_budget(void) {
  uint64_t spent_ms = now_ms() - guard.load_started_ms;
  if (spent_ms <= PLAN_OS_LOAD_BUDGET_MS + guard.held_ms) return true;
  if (!guard.over_budget) say("loading takes longer than its budget: no more refreshes");
  guard.over_budget = true;
  return false;
}

void guard_progress(void) {
  if (guard.api != NULL && within_budget()) guard.api->refresh(guard.api);
}

void guard_done(const char *name) {
  mark(stage_os_load, name);
  guard_progress();
}

void guard_hold(uint64_t held_ms) {
  guard.held_ms += held_ms;
  if (guard.api != NULL) guard.api->refresh(guard.api);
}

/** Takes milliseconds of flash, and so comes before the last refresh. */
static void before_hand_off(void) { attempt_note(stage_hand_off, "kernel_entry", now_ms()); }

/** A volatile variable: memory only. */
static void after_hand_off(const struct kennel_handed *handed) {
  static uint8_t bytes[hand_off_bytes];
  if (guard.log == &guard.own_log) {
    stage_log_mark(&guard.own_log, stage_hand_off, "", handed->counter);
  }
  bool has_countdown = handed->watchdog.refreshed;
  struct hand_off record = {
      .state = attempt_state(),
      .log = guard.log,
      .backend = has_countdown ? guard.info.backend : "none",
      .has_countdown = has_countdown,
      .min_ms = guard.info.min_ms,
      .max_ms = guard.info.max_ms,
      .handed = handed->watchdog,
      .refreshed_ms = stage_log_ms(guard.log, handed->counter),
      .cause = guard.info.cause,
  };
  size_t count = hand_off_encode(&record, bytes, sizeof bytes);
  if (count > 0) variable_set(record_name, false, bytes, count);
}

/** Without a driver there is nothing to refresh, but still something to tell Linux. */
static void at_exit(efi_event event, void *context) {
  (void)event;
  (void)context;
  before_hand_off();
  struct kennel_handed nothing = {.counter = arch_counter()};
  after_hand_off(&nothing);
}

bool guard_prepare_hand_off(bool lock) {
  if (guard.api != NULL) {
    struct kennel_hand_off hand_off = {before_hand_off, after_hand_off, lock};
    return !efi_failed(guard.api->hand_off(guard.api, &hand_off));
  }
  if (guard.exit_event != NULL) return true;
  return !efi_failed(firmware_boot->create_event(EVT_SIGNAL_EXIT_BOOT_SERVICES, TPL_NOTIFY, at_exit,
                                                 NULL, &guard.exit_event));
}
