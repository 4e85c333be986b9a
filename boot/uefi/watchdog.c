#include "watchdog.h"

enum watchdog_result watchdog_set(struct watchdog *watchdog, uint64_t timeout_ms,
                                  uint64_t *granted_ms) {
  *granted_ms = watchdog->granted_ms;
  if (watchdog->revoked) return watchdog_revoked;
  if (timeout_ms == 0) {
    enum watchdog_result stopped = watchdog_disable(watchdog);
    *granted_ms = watchdog->granted_ms;
    return stopped;
  }
  if (timeout_ms < watchdog->min_ms || timeout_ms > watchdog->max_ms) return watchdog_range;
  if (watchdog->running && !watchdog->can_rearm && timeout_ms != watchdog->granted_ms) {
    return watchdog_unsupported;
  }
  uint64_t granted = watchdog->ops->arm(watchdog, timeout_ms);
  if (granted == 0) return watchdog_device;
  watchdog->running = true;
  watchdog->granted_ms = granted;
  *granted_ms = granted;
  return watchdog_ok;
}

enum watchdog_result watchdog_refresh(struct watchdog *watchdog) {
  if (watchdog->revoked) return watchdog_revoked;
  if (watchdog->running) watchdog->ops->refresh(watchdog);
  return watchdog_ok;
}

enum watchdog_result watchdog_disable(struct watchdog *watchdog) {
  if (watchdog->revoked) return watchdog_revoked;
  if (!watchdog->running) return watchdog_ok;
  if (watchdog->locked) return watchdog_unsupported;
  if (!watchdog->ops->stop(watchdog)) return watchdog_device;
  watchdog->running = false;
  watchdog->granted_ms = 0;
  return watchdog_ok;
}

struct watchdog_handed watchdog_hand_off(struct watchdog *watchdog, bool lock) {
  struct watchdog_handed handed = {.refreshed = false};
  if (watchdog->revoked) return handed;
  watchdog->revoked = true;
  if (!watchdog->running) return handed;
  watchdog->ops->refresh(watchdog);
  handed.refreshed = true;
  if (lock && watchdog->ops->lock != NULL) watchdog->locked = watchdog->ops->lock(watchdog);
  handed.locked = watchdog->locked;
  handed.granted_ms = watchdog->granted_ms;
  handed.remaining_ms =
      watchdog->ops->remaining == NULL ? watchdog->granted_ms : watchdog->ops->remaining(watchdog);
  return handed;
}
