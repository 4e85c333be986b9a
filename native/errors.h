// Errors shaped like Node's own: `code`, `errno`, `syscall`, `path`, and a message that reads
// "ENOENT: no such file or directory, open '/dev/watchdog0'". Names come from libuv, which keeps
// the one table of them.
#pragma once

#include <napi.h>
#include <uv.h>

#include <string>

namespace kennel {

// "EPERM: operation not permitted" for a positive errno.
inline std::string ErrnoText(int error) {
  return std::string(uv_err_name(-error)) + ": " + uv_strerror(-error);
}

// `error` is a positive errno; `path` may be empty.
inline Napi::Error ErrnoError(Napi::Env env, int error, const char* syscall,
                              const std::string& path) {
  std::string message = ErrnoText(error) + ", " + syscall;
  if (!path.empty()) message += " '" + path + "'";
  Napi::Error failure = Napi::Error::New(env, message);
  failure.Set("code", Napi::String::New(env, uv_err_name(-error)));
  failure.Set("errno", Napi::Number::New(env, -error));
  failure.Set("syscall", Napi::String::New(env, syscall));
  if (!path.empty()) failure.Set("path", Napi::String::New(env, path));
  return failure;
}

// A value that the caller should not have passed: code ERR_OUT_OF_RANGE or ERR_INVALID_ARG_TYPE,
// as Node names them.
inline Napi::Error ArgumentError(Napi::Env env, const char* code, const std::string& message) {
  Napi::Error failure = Napi::RangeError::New(env, message);
  failure.Set("code", Napi::String::New(env, code));
  return failure;
}

// The integer argument at `index` within [low, high], or an error that names it.
inline int IntegerArgument(const Napi::CallbackInfo& info, size_t index, const char* name, int low,
                           int high) {
  const double value = info[index].IsNumber() ? info[index].As<Napi::Number>().DoubleValue() : 0.5;
  const bool whole = value == static_cast<double>(static_cast<int64_t>(value));
  if (!whole || value < low || value > high) {
    throw ArgumentError(info.Env(), "ERR_OUT_OF_RANGE",
                        std::string(name) + " must be a whole number from " + std::to_string(low) +
                            " to " + std::to_string(high));
  }
  return static_cast<int>(value);
}

}  // namespace kennel
