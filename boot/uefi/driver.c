/**
 * The watchdog driver: finds the hardware at power-on, installs the API, and ends it at hand-off
 * with one last refresh. Works as the card's option ROM, as Driver####, and loaded by the loader.
 */
#include "arch.h"
#include "firmware.h"
#include "kennelwdt.h"
#include "probe.h"

static const efi_guid api_guid = KENNEL_WATCHDOG_GUID;
static const efi_guid pci_guid = EFI_PCI_IO_GUID;

/** The one watchdog of this image. */
static struct {
  kennel_watchdog api;
  struct watchdog watchdog;
  struct stage_log log;
  bool is_installed;
  struct kennel_hand_off hand_off;
  efi_event exit_event, pci_event;
  void *registration;
} driver;

static efi_status status_of(enum watchdog_result result) {
  switch (result) {
    case watchdog_ok:
      return EFI_SUCCESS;
    case watchdog_range:
      return EFI_INVALID_PARAMETER;
    case watchdog_device:
      return EFI_DEVICE_ERROR;
    default:
      return EFI_UNSUPPORTED;
  }
}

static efi_status api_info(kennel_watchdog *self, struct kennel_info *info) {
  (void)self;
  const struct watchdog *watchdog = &driver.watchdog;
  if (watchdog->revoked) return EFI_UNSUPPORTED;
  *info = (struct kennel_info){
      .backend = watchdog->backend,
      .min_ms = watchdog->min_ms,
      .max_ms = watchdog->max_ms,
      .granted_ms = watchdog->granted_ms,
      .running = watchdog->running,
      .locked = watchdog->locked,
      .can_lock = watchdog->ops->lock != NULL,
      .cause = watchdog->cause,
  };
  return EFI_SUCCESS;
}

/** Arming means that somebody has noted the cause: the hardware may tell of the next reset. */
static efi_status api_set_timeout(kennel_watchdog *self, uint64_t timeout_ms,
                                  uint64_t *granted_ms) {
  (void)self;
  struct watchdog *watchdog = &driver.watchdog;
  efi_status status = status_of(watchdog_set(watchdog, timeout_ms, granted_ms));
  if (!efi_failed(status) && watchdog->running) watchdog->ops->forget_cause(watchdog);
  return status;
}

static efi_status api_refresh(kennel_watchdog *self) {
  (void)self;
  return status_of(watchdog_refresh(&driver.watchdog));
}

static efi_status api_disable(kennel_watchdog *self) {
  (void)self;
  return status_of(watchdog_disable(&driver.watchdog));
}

static efi_status api_mark(kennel_watchdog *self, enum stage stage, const char *step) {
  (void)self;
  if (driver.watchdog.revoked) return EFI_UNSUPPORTED;
  stage_log_mark(&driver.log, stage, step, arch_counter());
  return EFI_SUCCESS;
}

static efi_status api_log(kennel_watchdog *self, const struct stage_log **log) {
  (void)self;
  if (driver.watchdog.revoked) return EFI_UNSUPPORTED;
  *log = &driver.log;
  return EFI_SUCCESS;
}

static efi_status api_hand_off(kennel_watchdog *self, const struct kennel_hand_off *hand_off) {
  (void)self;
  if (driver.watchdog.revoked) return EFI_UNSUPPORTED;
  driver.hand_off = *hand_off;
  return EFI_SUCCESS;
}

/** Firmware signals this once, for the call that succeeds: so there is exactly one last refresh. */
static void at_exit(efi_event event, void *context) {
  (void)event;
  (void)context;
  if (driver.watchdog.revoked) return;
  if (driver.hand_off.before != NULL) driver.hand_off.before();
  struct kennel_handed handed = {.counter = arch_counter()};
  stage_log_mark(&driver.log, stage_hand_off, "", handed.counter);
  handed.watchdog = watchdog_hand_off(&driver.watchdog, driver.hand_off.lock);
  if (driver.hand_off.after != NULL) driver.hand_off.after(&handed);
}

static efi_status install(void) {
  driver.api = (kennel_watchdog){
      .revision = KENNEL_WATCHDOG_REVISION,
      .info = api_info,
      .set_timeout = api_set_timeout,
      .refresh = api_refresh,
      .disable = api_disable,
      .mark = api_mark,
      .log = api_log,
      .hand_off = api_hand_off,
  };
  // At TPL_NOTIFY: after the variable driver's own event, which is at TPL_NOTIFY too but older, a
  // volatile variable cannot be set any more. Newer events come first.
  efi_status status = firmware_boot->create_event(EVT_SIGNAL_EXIT_BOOT_SERVICES, TPL_NOTIFY,
                                                  at_exit, NULL, &driver.exit_event);
  if (efi_failed(status)) return status;
  efi_handle handle = NULL;
  status = firmware_boot->install_protocol(&handle, &api_guid, 0, &driver.api);
  if (efi_failed(status)) {
    firmware_boot->close_event(driver.exit_event);
    return status;
  }
  driver.is_installed = true;
  stage_log_mark(&driver.log, stage_power_on, "api_install", arch_counter());
  say("watchdog %s, %d to %d ms%s", driver.watchdog.backend, driver.watchdog.min_ms,
      driver.watchdog.max_ms, driver.watchdog.cause == cause_watchdog ? ", it has fired" : "");
  return EFI_SUCCESS;
}

static void look(void) {
  if (!driver.is_installed && probe_all(&driver.watchdog)) install();
}

/** More of the bus was found. */
static void at_pci(efi_event event, void *context) {
  (void)event;
  (void)context;
  look();
}

efi_status efi_main(efi_handle image, efi_system_table *system);

efi_status efi_main(efi_handle image, efi_system_table *system) {
  (void)image;
  firmware_begin(system);
  void *other = NULL;
  if (!efi_failed(firmware_boot->locate_protocol(&api_guid, NULL, &other))) {
    return EFI_ALREADY_STARTED;
  }
  driver.log = (struct stage_log){.hz = counter_hz(), .zero = arch_counter()};
  stage_log_mark(&driver.log, stage_power_on, "", driver.log.zero);
  look();
  if (driver.is_installed) return EFI_SUCCESS;
  efi_status status =
      firmware_boot->create_event(EVT_NOTIFY_SIGNAL, TPL_CALLBACK, at_pci, NULL, &driver.pci_event);
  if (efi_failed(status)) return status;
  return firmware_boot->register_protocol_notify(&pci_guid, driver.pci_event, &driver.registration);
}
