// The refresh thread: keeps a watchdog alive on the OS's behalf up to the deadline the OS promised,
// and lets it expire exactly then. Plain Linux, no N-API: nothing here is shared with JavaScript
// but the atomics of `Refresher`.
//
// The placement of refreshes, all times in nanoseconds of CLOCK_MONOTONIC:
//
//   T1 = hardware timeout, T2 = promised timeout, T2 >= T1, gap = shortest time between refreshes
//   the hardware bears, 2 * gap <= T1.
//   C  = last check-in, D = deadline = C + T2, L = the last refresh.
//
//   next_refresh(L, C, D, T1, gap):
//     F = max(D - T1, C)                                  the final refresh of this promise
//     if L >= F:             none                         it is done; the hardware expires at D
//     if F - L <= T1 / 2:    N = F                        (T1 / 2 rounded down)
//     else:                  N = min(L + T1 / 2, F - gap) leave room for the final one
//     return max(N, L + gap)
//
// A result in the past means at once. From time D on nothing is refreshed whatever the formula
// says, so a thread that was frozen (SIGSTOP, starved) does not revive a promise that has lapsed.
// With T2 == T1 it comes to one refresh at each check-in.
//
// What it gives: the hardware expires at D, give or take the lateness of the thread. Only when
// check-ins follow each other closer than `gap`, or T2 - T1 < gap, can the final refresh be pushed
// behind F, by less than `gap`: late rather than early, because a card that has checked in must
// not be reset before its time.
#pragma once

#include <pthread.h>

#include <atomic>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

namespace kennel {

inline constexpr int64_t kNever = INT64_MAX;
inline constexpr size_t kSamplesMax = 4096;
inline constexpr int kRefreshPriority = 50;
// How long stop() waits for a thread that is inside the driver.
inline constexpr int64_t kStopWaitNs = 1'000'000'000;

int64_t MonotonicNs();

// The formula above; kNever stands for "none".
int64_t NextRefresh(int64_t last, int64_t check_in, int64_t deadline, int64_t hardware,
                    int64_t min_gap);

struct RefreshPlan {
  int fd = -1;
  // false: WDIOC_KEEPALIVE. true: a refresh is the time written as 8 little-endian bytes, so that
  // the reader of a pipe learns when it happened.
  bool stamps = false;
  // > 0: a refresh is WDIOC_SETTIMEOUT of so many seconds, for drivers whose WDIOC_KEEPALIVE is
  // dead. A driver that comes to refuse it is refreshed by the other ways again.
  int timeout_s = 0;
  int64_t hardware_ns = 0;
  int64_t promise_ns = 0;
  int64_t min_gap_ns = 0;
};

// Everything the thread touches. It lives in memory of its own that is never returned while the
// thread may run, and has nothing to destroy: at exit() the thread runs on until the process dies.
struct Refresher {
  RefreshPlan plan;

  // JavaScript writes these.
  std::atomic<int64_t> deadline{0};
  std::atomic<uint32_t> wake{0};  // the futex
  std::atomic<bool> stopping{false};

  // The thread writes these.
  std::atomic<int64_t> last{0};
  std::atomic<int64_t> planned{0};
  std::atomic<uint32_t> ended{0};  // a futex too
  std::atomic<uint64_t> refreshes{0};
  std::atomic<uint64_t> failures{0};
  std::atomic<uint64_t> wakeups{0};
  std::atomic<int> last_errno{0};
  std::atomic<int64_t> late_min{0};
  std::atomic<int64_t> late_max{0};
  std::atomic<uint64_t> sample_count{0};
  std::atomic<int64_t> samples[kSamplesMax];

  // The OS checked in at `now`. Lock-free; wakes the thread only when it would otherwise sleep
  // past its next refresh.
  void CheckIn(int64_t now);
  // The thread's body.
  void Run();

 private:
  int64_t NextFor(int64_t deadline_ns) const;
  bool Refresh(int64_t due);
  int Touch(int64_t now);

  bool by_write_ = false;  // WDIOC_KEEPALIVE is not supported, write() is
};

static_assert(std::is_trivially_destructible_v<Refresher>);
static_assert(std::atomic<int64_t>::is_always_lock_free, "the deadline cell must not take a lock");
static_assert(sizeof(void*) == 8, "futex timeouts are written for 64-bit Linux");

// The thread with its memory: guard page, stack, Refresher, in one locked mapping.
class RefreshThread {
 public:
  // Starts the thread. On failure Error() is a positive errno and Syscall() names the call.
  explicit RefreshThread(const RefreshPlan& plan);
  // Stops the thread. What a stuck driver keeps from ending is left behind, never freed.
  ~RefreshThread();
  RefreshThread(const RefreshThread&) = delete;
  RefreshThread& operator=(const RefreshThread&) = delete;

  // Ends the thread; false when it did not end within kStopWaitNs. Safe to repeat.
  bool Stop();

  Refresher& Shared() { return *shared_; }
  bool Running() const { return running_; }
  int Error() const { return error_; }
  const char* Syscall() const { return syscall_; }
  // "SCHED_FIFO", or "SCHED_OTHER (EPERM: operation not permitted)".
  const std::string& Scheduling() const { return scheduling_; }
  size_t LockedBytes() const { return locked_bytes_; }
  // Empty, or why memory could not be locked.
  const std::string& LockError() const { return lock_error_; }

 private:
  bool Map(size_t stack_bytes);
  bool Start();
  bool Fail(int error, const char* syscall);

  char* memory_ = nullptr;
  size_t memory_bytes_ = 0;
  size_t stack_bytes_ = 0;
  Refresher* shared_ = nullptr;
  pthread_t thread_{};
  bool running_ = false;
  bool abandoned_ = false;
  int error_ = 0;
  const char* syscall_ = "";
  std::string scheduling_;
  size_t locked_bytes_ = 0;
  std::string lock_error_;
};

}  // namespace kennel
