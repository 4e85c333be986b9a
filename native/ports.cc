#include "ports.h"

#include <sys/ioctl.h>

#include <cerrno>
#include <string>

#include "errors.h"

namespace kennel {

namespace {

// After TIOCEXCL every further open of the terminal fails EBUSY, except for CAP_SYS_ADMIN: flock,
// which serial libraries use, stops only those who ask. It lasts until the last of those who have
// the terminal open closes it, or until it is taken back.
void Exclusive(const Napi::CallbackInfo& info) {
  const int fd = IntegerArgument(info, 0, "fd", 0, INT32_MAX);
  const bool on = info.Length() < 2 || info[1].ToBoolean();
  const int failed = ioctl(fd, on ? TIOCEXCL : TIOCNXCL);
  if (failed < 0) throw ErrnoError(info.Env(), errno, on ? "TIOCEXCL" : "TIOCNXCL", "");
}

// Sets or clears one line and leaves the others as they are.
void ControlLine(const Napi::CallbackInfo& info) {
  const int fd = IntegerArgument(info, 0, "fd", 0, INT32_MAX);
  const std::string name = info[1].ToString();
  const bool on = info[2].ToBoolean();
  if (name != "dtr" && name != "rts") {
    throw ArgumentError(info.Env(), "ERR_OUT_OF_RANGE", "a control line is dtr or rts");
  }
  int bit = name == "dtr" ? TIOCM_DTR : TIOCM_RTS;
  const int failed = ioctl(fd, on ? TIOCMBIS : TIOCMBIC, &bit);
  if (failed < 0) throw ErrnoError(info.Env(), errno, on ? "TIOCMBIS" : "TIOCMBIC", "");
}

}  // namespace

void RegisterPorts(Napi::Env env, Napi::Object exports) {
  exports.Set("exclusive", Napi::Function::New(env, Exclusive, "exclusive"));
  exports.Set("controlLine", Napi::Function::New(env, ControlLine, "controlLine"));
}

}  // namespace kennel
