// The refresh thread's start and end, and the memory it lives in.
#include <linux/futex.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <new>

#include "errors.h"
#include "memory.h"
#include "refresher.h"

namespace kennel {

namespace {

// The thread needs a few kB. What libraries declare as thread-local is put on the stack as well, so
// where 64 kB do not hold that, as under a sanitizer, more is tried.
constexpr size_t kStackBytes[] = {64 * 1024, 1024 * 1024, 8 * 1024 * 1024};

size_t RoundUp(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

void* Body(void* shared) {
  static_cast<Refresher*>(shared)->Run();
  return nullptr;
}

}  // namespace

RefreshThread::RefreshThread(const RefreshPlan& plan) {
  // Locking comes before the first promise: it may take milliseconds.
  const LockResult code = LockOwnCode();
  for (const size_t stack_bytes : kStackBytes) {
    if (!Map(stack_bytes)) return;
    shared_ = new (memory_ + memory_bytes_ - RoundUp(sizeof(Refresher), 64)) Refresher;
    shared_->plan = plan;
    // The start is a check-in and is refreshed at once, whatever the device had left.
    const int64_t now = MonotonicNs();
    shared_->deadline.store(now + plan.promise_ns);
    shared_->last.store(now - plan.hardware_ns / 2);
    running_ = Start();
    // What pthread_create answers to a stack that is too small.
    if (running_ || error_ != EINVAL) break;
    munmap(memory_, memory_bytes_);
    memory_ = nullptr;
  }
  locked_bytes_ += code.bytes;
  if (lock_error_.empty() && code.error != 0) lock_error_ = ErrnoText(code.error);
}

RefreshThread::~RefreshThread() {
  if (memory_ != nullptr && Stop()) munmap(memory_, memory_bytes_);
}

bool RefreshThread::Fail(int error, const char* syscall) {
  error_ = error;
  syscall_ = syscall;
  return false;
}

bool RefreshThread::Map(size_t stack_bytes) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  stack_bytes_ = RoundUp(stack_bytes, page);
  memory_bytes_ = page + stack_bytes_ + RoundUp(sizeof(Refresher) + 64, page);
  lock_error_.clear();
  locked_bytes_ = 0;
  void* mapped = mmap(nullptr, memory_bytes_, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (mapped == MAP_FAILED) return Fail(errno, "mmap");
  memory_ = static_cast<char*>(mapped);
  // Guard page: a stack that overflows must fault, not write over its neighbour.
  mprotect(memory_, page, PROT_NONE);
  if (mlock(memory_ + page, memory_bytes_ - page) == 0) {
    locked_bytes_ = memory_bytes_ - page;
  } else {
    lock_error_ = ErrnoText(errno);
  }
  return true;
}

bool RefreshThread::Start() {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  int error = pthread_attr_setstack(&attributes, memory_ + page, stack_bytes_);
  // The thread inherits the mask, so no signal of Node's is ever delivered to it, not even while
  // it starts.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  if (error == 0) error = pthread_create(&thread_, &attributes, Body, shared_);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  if (error != 0) return Fail(error, "pthread_create");
  pthread_setname_np(thread_, "kennel-refresh");
  sched_param priority = {};
  priority.sched_priority = kRefreshPriority;
  const int refused = pthread_setschedparam(thread_, SCHED_FIFO, &priority);
  scheduling_ = refused == 0 ? "SCHED_FIFO" : "SCHED_OTHER (" + ErrnoText(refused) + ")";
  return true;
}

bool RefreshThread::Stop() {
  if (!running_) return !abandoned_;
  running_ = false;
  shared_->stopping.store(true);
  shared_->wake.fetch_add(1);
  syscall(SYS_futex, &shared_->wake, FUTEX_WAKE_PRIVATE, 1);
  const int64_t until = MonotonicNs() + kStopWaitNs;
  timespec at = {static_cast<time_t>(until / 1'000'000'000),
                 static_cast<long>(until % 1'000'000'000)};
  while (shared_->ended.load() == 0 && MonotonicNs() < until) {
    syscall(SYS_futex, &shared_->ended, FUTEX_WAIT_BITSET_PRIVATE, 0, &at, nullptr,
            FUTEX_BITSET_MATCH_ANY);
  }
  // A driver that never returns keeps its thread; waiting for it would hang the exit as well.
  if (shared_->ended.load() == 0) {
    pthread_detach(thread_);
    abandoned_ = true;
    return false;
  }
  pthread_join(thread_, nullptr);
  return true;
}

}  // namespace kennel
