#include "clock.h"

#include <time.h>

#include <cerrno>
#include <cmath>
#include <string>

#include "errors.h"

namespace kennel {

namespace {

constexpr double kMsPerSecond = 1000;
constexpr long kNsPerMs = 1000000;
// The year 9999: what the date's text has room for.
constexpr double kMsMax = 253402300799999;

// setDate(ms): whole milliseconds since 1970.
void SetDate(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (!info[0].IsNumber()) {
    throw ArgumentError(env, "ERR_INVALID_ARG_TYPE", "a date must be a number");
  }
  const double ms = info[0].As<Napi::Number>().DoubleValue();
  if (!(ms >= 0 && ms <= kMsMax) || ms != std::floor(ms)) {
    throw ArgumentError(env, "ERR_OUT_OF_RANGE", "a date is whole milliseconds from 1970 to 9999");
  }
  timespec date = {};
  date.tv_sec = static_cast<time_t>(ms / kMsPerSecond);
  date.tv_nsec = static_cast<long>(std::fmod(ms, kMsPerSecond)) * kNsPerMs;
  if (clock_settime(CLOCK_REALTIME, &date) != 0) {
    throw ErrnoError(env, errno, "clock_settime", std::string());
  }
}

}  // namespace

void RegisterClock(Napi::Env env, Napi::Object exports) {
  exports.Set("setDate", Napi::Function::New(env, SetDate, "setDate"));
}

}  // namespace kennel
