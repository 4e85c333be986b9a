#include "runtime.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cmath>
#include <string>

#include "errors.h"

namespace kennel {

namespace {

constexpr double kNsPerMs = 1e6;
constexpr int64_t kHardwareNsMin = 1'000'000;
// Hundred years: far beyond any promise and far from the end of a 64-bit nanosecond clock.
constexpr double kPromiseMsMax = 100.0 * 365 * 24 * 3600 * 1000;

int64_t TimeOption(Napi::Object options, const char* name) {
  const Napi::Value value = options.Get(name);
  const double ms = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : NAN;
  if (!(ms >= 0 && ms <= kPromiseMsMax)) {
    throw ArgumentError(options.Env(), "ERR_OUT_OF_RANGE",
                        std::string(name) + " must be milliseconds, from 0 to a hundred years");
  }
  return std::llround(ms * kNsPerMs);
}

RefreshPlan ReadPlan(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (!info[0].IsObject()) {
    throw ArgumentError(env, "ERR_INVALID_ARG_TYPE", "the options must be an object");
  }
  Napi::Object options = info[0].As<Napi::Object>();
  RefreshPlan plan;
  const Napi::Value fd = options.Get("fd");
  plan.fd = fd.IsNumber() ? fd.As<Napi::Number>().Int32Value() : -1;
  const std::string kind = options.Get("kind").ToString();
  if (kind != "watchdog" && kind != "pipe") {
    throw ArgumentError(env, "ERR_INVALID_ARG_TYPE", "kind must be \"watchdog\" or \"pipe\"");
  }
  plan.stamps = kind == "pipe";
  const Napi::Value timeout = options.Get("timeoutS");
  if (!timeout.IsUndefined()) {
    const double seconds = timeout.IsNumber() ? timeout.As<Napi::Number>().DoubleValue() : NAN;
    if (!(seconds >= 0 && seconds <= INT_MAX && seconds == std::floor(seconds))) {
      throw ArgumentError(env, "ERR_OUT_OF_RANGE", "timeoutS must be whole seconds, 0 or more");
    }
    plan.timeout_s = static_cast<int>(seconds);
  }
  plan.hardware_ns = TimeOption(options, "hardwareMs");
  plan.promise_ns = TimeOption(options, "promiseMs");
  plan.min_gap_ns = TimeOption(options, "minGapMs");
  if (plan.hardware_ns < kHardwareNsMin) {
    throw ArgumentError(env, "ERR_OUT_OF_RANGE", "hardwareMs must be at least 1");
  }
  if (plan.promise_ns < plan.hardware_ns) {
    throw ArgumentError(env, "ERR_OUT_OF_RANGE",
                        "promiseMs must be at least hardwareMs: a promise shorter than the "
                        "hardware's own timeout cannot be kept");
  }
  if (plan.min_gap_ns > plan.hardware_ns / 2) {
    throw ArgumentError(env, "ERR_OUT_OF_RANGE",
                        "minGapMs must be at most half of hardwareMs, which is how far apart "
                        "refreshes are");
  }
  return plan;
}

bool OnMainThread() { return syscall(SYS_gettid) == getpid(); }

}  // namespace

void RuntimeService::Register(Napi::Env env, Napi::Object exports) {
  exports.Set("RuntimeService",
              DefineClass(env, "RuntimeService",
                          {
                              StaticMethod<&RuntimeService::NextRefreshNs>("nextRefreshNs"),
                              InstanceMethod<&RuntimeService::CheckIn>("checkIn"),
                              InstanceMethod<&RuntimeService::Stats>("stats"),
                              InstanceMethod<&RuntimeService::Samples>("samples"),
                              InstanceMethod<&RuntimeService::StopThread>("stop"),
                          }));
  exports.Set("monotonicNs", Napi::Function::New(
                                 env,
                                 [](const Napi::CallbackInfo& info) -> Napi::Value {
                                   return Napi::BigInt::New(info.Env(), MonotonicNs());
                                 },
                                 "monotonicNs"));
}

RuntimeService::RuntimeService(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<RuntimeService>(info) {
  Napi::Env env = info.Env();
  // A worker may be terminated at any instant while the process, and the promise, live on.
  if (!OnMainThread()) {
    throw ArgumentError(env, "ERR_MAIN_THREAD_ONLY",
                        "the refresh service starts on the main thread only, not in a worker");
  }
  RefreshPlan plan = ReadPlan(info);
  plan.fd = fd_ = fcntl(plan.fd, F_DUPFD_CLOEXEC, 0);
  if (fd_ < 0) throw ErrnoError(env, errno, "fcntl", "");
  // A full pipe must fail a refresh and not hold the thread.
  if (plan.stamps) fcntl(fd_, F_SETFL, fcntl(fd_, F_GETFL) | O_NONBLOCK);
  thread_ = std::make_unique<RefreshThread>(plan);
  if (!thread_->Running()) {
    close(fd_);
    fd_ = -1;
    throw ErrnoError(env, thread_->Error(), thread_->Syscall(), "");
  }
  hooked_ = env;
  napi_add_env_cleanup_hook(hooked_, AtEnvironmentEnd, this);
}

RuntimeService::~RuntimeService() {
  Stop();
  if (hooked_ != nullptr) napi_remove_env_cleanup_hook(hooked_, AtEnvironmentEnd, this);
}

void RuntimeService::AtEnvironmentEnd(void* service) {
  auto* self = static_cast<RuntimeService*>(service);
  self->hooked_ = nullptr;
  self->Stop();
}

bool RuntimeService::Stop() {
  if (thread_ == nullptr) return true;
  const bool ended = thread_->Stop();
  // A thread that is still inside the driver keeps its descriptor.
  if (ended && fd_ >= 0) {
    close(fd_);
    fd_ = -1;
  }
  return ended;
}

Napi::Value RuntimeService::StopThread(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), Stop());
}

void RuntimeService::CheckIn(const Napi::CallbackInfo&) {
  thread_->Shared().CheckIn(MonotonicNs());
}

Napi::Value RuntimeService::Stats(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Refresher& shared = thread_->Shared();
  Napi::Object stats = Napi::Object::New(env);
  const auto number = [&](const char* name, double value) {
    stats.Set(name, Napi::Number::New(env, value));
  };
  number("refreshes", static_cast<double>(shared.refreshes.load()));
  number("failures", static_cast<double>(shared.failures.load()));
  number("wakeups", static_cast<double>(shared.wakeups.load()));
  number("lateMinNs", static_cast<double>(shared.late_min.load()));
  number("lateMaxNs", static_cast<double>(shared.late_max.load()));
  number("lockedBytes", static_cast<double>(thread_->LockedBytes()));
  stats.Set("lastRefreshNs", Napi::BigInt::New(env, shared.last.load()));
  stats.Set("deadlineNs", Napi::BigInt::New(env, shared.deadline.load()));
  const int error = shared.last_errno.load();
  stats.Set("lastError", Napi::String::New(env, error == 0 ? "" : ErrnoText(error)));
  stats.Set("scheduling", Napi::String::New(env, thread_->Scheduling()));
  stats.Set("lockError", Napi::String::New(env, thread_->LockError()));
  stats.Set("running", Napi::Boolean::New(env, thread_->Running()));
  return stats;
}

// Oldest first. The thread may overwrite the oldest while they are copied: a sample is then a
// newer one, never half of each.
Napi::Value RuntimeService::Samples(const Napi::CallbackInfo& info) {
  Refresher& shared = thread_->Shared();
  const uint64_t count = shared.sample_count.load(std::memory_order_acquire);
  const uint64_t first = count > kSamplesMax ? count - kSamplesMax : 0;
  auto result = Napi::Float64Array::New(info.Env(), count - first);
  for (uint64_t index = first; index < count; index++) {
    const int64_t late = shared.samples[index % kSamplesMax].load(std::memory_order_relaxed);
    result[index - first] = static_cast<double>(late);
  }
  return result;
}

// For tests: the formula of refresher.h on BigInt arguments; null is "none".
Napi::Value RuntimeService::NextRefreshNs(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  int64_t values[5];
  for (size_t index = 0; index < 5; index++) {
    bool exact = false;
    if (info[index].IsBigInt()) values[index] = info[index].As<Napi::BigInt>().Int64Value(&exact);
    if (!exact) {
      throw ArgumentError(env, "ERR_INVALID_ARG_TYPE",
                          "last, checkIn, deadline, hardware and minGap must be 64-bit BigInts");
    }
  }
  const int64_t next = NextRefresh(values[0], values[1], values[2], values[3], values[4]);
  if (next == kNever) return env.Null();
  return Napi::BigInt::New(env, next);
}

}  // namespace kennel
