#include "refresher.h"

#include <linux/futex.h>
#include <linux/watchdog.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace kennel {

namespace {

constexpr int64_t kNsPerSecond = 1'000'000'000;
// A refused refresh is tried again after this part of T1: six more attempts before expiry.
constexpr int64_t kRetriesPerTimeout = 8;

// Sleeps until *word differs from `seen` or CLOCK_MONOTONIC reaches `until`. The absolute timeout
// makes a late wake-up show as lateness of one refresh and never as drift.
void WaitUntil(std::atomic<uint32_t>* word, uint32_t seen, int64_t until) {
  timespec at = {static_cast<time_t>(until / kNsPerSecond),
                 static_cast<long>(until % kNsPerSecond)};
  syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, seen, until == kNever ? nullptr : &at,
          nullptr, FUTEX_BITSET_MATCH_ANY);
}

}  // namespace

int64_t MonotonicNs() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * kNsPerSecond + now.tv_nsec;
}

int64_t NextRefresh(int64_t last, int64_t check_in, int64_t deadline, int64_t hardware,
                    int64_t min_gap) {
  const int64_t final_one = std::max(deadline - hardware, check_in);
  if (last >= final_one) return kNever;
  const int64_t half = hardware / 2;
  const bool near = final_one - last <= half;
  const int64_t next = near ? final_one : std::min(last + half, final_one - min_gap);
  return std::max(next, last + min_gap);
}

int64_t Refresher::NextFor(int64_t deadline_ns) const {
  return NextRefresh(last.load(), deadline_ns - plan.promise_ns, deadline_ns, plan.hardware_ns,
                     plan.min_gap_ns);
}

// Either the thread, which publishes its plan and then looks at the deadline once more, sees the
// new deadline, or we see its plan here: both sides are sequentially consistent, so no check-in is
// ever slept through.
void Refresher::CheckIn(int64_t now) {
  const int64_t deadline_ns = now + plan.promise_ns;
  deadline.store(deadline_ns);
  if (NextFor(deadline_ns) >= planned.load()) return;
  wake.fetch_add(1);
  syscall(SYS_futex, &wake, FUTEX_WAKE_PRIVATE, 1);
}

void Refresher::Run() {
  // Only SCHED_OTHER has timer slack: 50 us unless told otherwise.
  prctl(PR_SET_TIMERSLACK, 1);
  int64_t plan_before = kNever;
  int64_t not_before = 0;
  while (!stopping.load()) {
    const uint32_t seen = wake.load();
    if (stopping.load()) break;
    const int64_t deadline_ns = deadline.load();
    const int64_t now = MonotonicNs();
    int64_t next = now >= deadline_ns ? kNever : NextFor(deadline_ns);
    if (next != kNever) next = std::max(next, not_before);
    if (next <= now) {
      // A refresh that had been planned was due then. One that a check-in made necessary was not
      // due before the check-in.
      const int64_t check_in = deadline_ns - plan.promise_ns;
      const bool done = Refresh(plan_before <= now ? plan_before : std::max(next, check_in));
      const int64_t retry = std::max(plan.hardware_ns / kRetriesPerTimeout, plan.min_gap_ns);
      not_before = done ? 0 : now + retry;
      plan_before = kNever;
      continue;
    }
    plan_before = next;
    planned.store(next);
    if (deadline.load() != deadline_ns) continue;
    WaitUntil(&wake, seen, next);
    wakeups.fetch_add(1, std::memory_order_relaxed);
  }
  ended.store(1);
  syscall(SYS_futex, &ended, FUTEX_WAKE_PRIVATE, INT_MAX);
}

// The time of a refresh is taken before the call: the hardware cannot have been refreshed earlier,
// so the next one is never planned too late.
bool Refresher::Refresh(int64_t due) {
  const int64_t now = MonotonicNs();
  const int error = Touch(now);
  if (error != 0) {
    last_errno.store(error);
    failures.fetch_add(1);
    return false;
  }
  last.store(now);
  refreshes.fetch_add(1);
  const int64_t late = now - due;
  const uint64_t count = sample_count.load(std::memory_order_relaxed);
  if (count == 0 || late < late_min.load()) late_min.store(late);
  if (count == 0 || late > late_max.load()) late_max.store(late);
  samples[count % kSamplesMax].store(late, std::memory_order_relaxed);
  sample_count.store(count + 1, std::memory_order_release);
  return true;
}

// One refresh of the device. Returns 0 or a positive errno.
int Refresher::Touch(int64_t now) {
  if (plan.stamps) {
    unsigned char stamp[8];
    for (int index = 0; index < 8; index++) {
      stamp[index] = static_cast<unsigned char>(static_cast<uint64_t>(now) >> (8 * index));
    }
    return write(plan.fd, stamp, sizeof(stamp)) < 0 ? errno : 0;
  }
  if (plan.timeout_s > 0) {
    int seconds = plan.timeout_s;
    if (ioctl(plan.fd, WDIOC_SETTIMEOUT, &seconds) == 0) return 0;
    if (errno != EOPNOTSUPP && errno != ENOTTY) return errno;
    plan.timeout_s = 0;
  }
  if (!by_write_) {
    int unused = 0;
    if (ioctl(plan.fd, WDIOC_KEEPALIVE, &unused) == 0) return 0;
    if (errno != EOPNOTSUPP && errno != ENOTTY) return errno;
    by_write_ = true;
  }
  // Any byte but 'V' refreshes; 'V' would allow the next close to disarm.
  return write(plan.fd, "", 1) < 0 ? errno : 0;
}

}  // namespace kennel
