#include "watchdog.h"

#include <fcntl.h>
#include <linux/watchdog.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>

#include "errors.h"

namespace kennel {

namespace {
// Documentation/watchdog/watchdog-api.rst, "Magic Close feature".
constexpr char kMagic = 'V';
}  // namespace

void Watchdog::Register(Napi::Env env, Napi::Object exports) {
  exports.Set("Watchdog", DefineClass(env, "Watchdog",
                                      {
                                          InstanceAccessor<&Watchdog::Fd>("fd"),
                                          InstanceMethod<&Watchdog::GetSupport>("getSupport"),
                                          InstanceMethod<&Watchdog::GetStatus>("getStatus"),
                                          InstanceMethod<&Watchdog::GetBootStatus>("getBootStatus"),
                                          InstanceMethod<&Watchdog::GetTemp>("getTemp"),
                                          InstanceMethod<&Watchdog::SetOptions>("setOptions"),
                                          InstanceMethod<&Watchdog::KeepAlive>("keepAlive"),
                                          InstanceMethod<&Watchdog::SetTimeout>("setTimeout"),
                                          InstanceMethod<&Watchdog::GetTimeout>("getTimeout"),
                                          InstanceMethod<&Watchdog::SetPretimeout>("setPretimeout"),
                                          InstanceMethod<&Watchdog::GetPretimeout>("getPretimeout"),
                                          InstanceMethod<&Watchdog::GetTimeLeft>("getTimeLeft"),
                                          InstanceMethod<&Watchdog::Write>("write"),
                                          InstanceMethod<&Watchdog::MagicClose>("magicClose"),
                                          InstanceMethod<&Watchdog::Close>("close"),
                                      }));
}

Watchdog::Watchdog(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Watchdog>(info) {
  if (!info[0].IsString()) {
    throw ArgumentError(info.Env(), "ERR_INVALID_ARG_TYPE", "the path must be a string");
  }
  path_ = info[0].As<Napi::String>().Utf8Value();
  if (info.Length() > 1) {
    Adopt(info);
    return;
  }
  // Reading a watchdog is EBADF, and a child process that inherited the descriptor would keep the
  // device open after our death.
  do {
    fd_ = open(path_.c_str(), O_WRONLY | O_CLOEXEC);
  } while (fd_ < 0 && errno == EINTR);
  if (fd_ < 0) throw ErrnoError(info.Env(), errno, "open", path_);
}

// A descriptor that is inherited lacks the flag: a child would keep the device open.
void Watchdog::Adopt(const Napi::CallbackInfo& info) {
  const int fd = IntegerArgument(info, 1, "fd", 0, INT_MAX);
  if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) throw ErrnoError(info.Env(), errno, "fcntl", path_);
  fd_ = fd;
}

Watchdog::~Watchdog() { CloseDescriptor(); }

void Watchdog::CloseDescriptor() {
  // On Linux the descriptor is gone whatever close() answers, so it is never tried twice.
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

void Watchdog::Call(Napi::Env env, unsigned long request, const char* request_name,
                    void* argument) {
  int result;
  do {
    result = fd_ < 0 ? -1 : ioctl(fd_, request, argument);
  } while (fd_ >= 0 && result < 0 && errno == EINTR);
  if (result < 0) throw ErrnoError(env, fd_ < 0 ? EBADF : errno, request_name, path_);
}

Napi::Value Watchdog::ReadInteger(Napi::Env env, unsigned long request, const char* request_name) {
  int value = 0;
  Call(env, request, request_name, &value);
  return Napi::Number::New(env, value);
}

Napi::Value Watchdog::Fd(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), fd_);
}

Napi::Value Watchdog::GetSupport(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  watchdog_info support = {};
  Call(env, WDIOC_GETSUPPORT, "WDIOC_GETSUPPORT", &support);
  // The kernel does not promise a terminating zero.
  const char* identity = reinterpret_cast<const char*>(support.identity);
  const size_t length = strnlen(identity, sizeof(support.identity));
  Napi::Object result = Napi::Object::New(env);
  result.Set("options", Napi::Number::New(env, support.options));
  result.Set("firmwareVersion", Napi::Number::New(env, support.firmware_version));
  result.Set("identity", Napi::String::New(env, identity, length));
  return result;
}

Napi::Value Watchdog::GetStatus(const Napi::CallbackInfo& info) {
  return ReadInteger(info.Env(), WDIOC_GETSTATUS, "WDIOC_GETSTATUS");
}

Napi::Value Watchdog::GetBootStatus(const Napi::CallbackInfo& info) {
  return ReadInteger(info.Env(), WDIOC_GETBOOTSTATUS, "WDIOC_GETBOOTSTATUS");
}

Napi::Value Watchdog::GetTemp(const Napi::CallbackInfo& info) {
  return ReadInteger(info.Env(), WDIOC_GETTEMP, "WDIOC_GETTEMP");
}

void Watchdog::SetOptions(const Napi::CallbackInfo& info) {
  int options = IntegerArgument(info, 0, "options", 0, INT_MAX);
  Call(info.Env(), WDIOC_SETOPTIONS, "WDIOC_SETOPTIONS", &options);
}

void Watchdog::KeepAlive(const Napi::CallbackInfo& info) {
  int unused = 0;
  Call(info.Env(), WDIOC_KEEPALIVE, "WDIOC_KEEPALIVE", &unused);
}

Napi::Value Watchdog::SetTimeout(const Napi::CallbackInfo& info) {
  int seconds = IntegerArgument(info, 0, "seconds", 0, INT_MAX);
  Call(info.Env(), WDIOC_SETTIMEOUT, "WDIOC_SETTIMEOUT", &seconds);
  return Napi::Number::New(info.Env(), seconds);
}

Napi::Value Watchdog::GetTimeout(const Napi::CallbackInfo& info) {
  return ReadInteger(info.Env(), WDIOC_GETTIMEOUT, "WDIOC_GETTIMEOUT");
}

Napi::Value Watchdog::SetPretimeout(const Napi::CallbackInfo& info) {
  int seconds = IntegerArgument(info, 0, "seconds", 0, INT_MAX);
  Call(info.Env(), WDIOC_SETPRETIMEOUT, "WDIOC_SETPRETIMEOUT", &seconds);
  // The core does not write the granted value back (watchdog_dev.c), so it is read.
  return ReadInteger(info.Env(), WDIOC_GETPRETIMEOUT, "WDIOC_GETPRETIMEOUT");
}

Napi::Value Watchdog::GetPretimeout(const Napi::CallbackInfo& info) {
  return ReadInteger(info.Env(), WDIOC_GETPRETIMEOUT, "WDIOC_GETPRETIMEOUT");
}

Napi::Value Watchdog::GetTimeLeft(const Napi::CallbackInfo& info) {
  return ReadInteger(info.Env(), WDIOC_GETTIMELEFT, "WDIOC_GETTIMELEFT");
}

void Watchdog::WriteByte(Napi::Env env, char byte) {
  ssize_t written;
  do {
    written = fd_ < 0 ? -1 : write(fd_, &byte, 1);
  } while (fd_ >= 0 && written < 0 && errno == EINTR);
  if (written < 0) throw ErrnoError(env, fd_ < 0 ? EBADF : errno, "write", path_);
}

void Watchdog::Write(const Napi::CallbackInfo& info) {
  const int byte = info.Length() == 0 ? 0 : IntegerArgument(info, 0, "byte", 0, 255);
  if (byte == kMagic) {
    throw ArgumentError(info.Env(), "ERR_OUT_OF_RANGE",
                        "write never writes 'V', which allows the device to stop: "
                        "call magicClose to disarm");
  }
  WriteByte(info.Env(), static_cast<char>(byte));
}

void Watchdog::MagicClose(const Napi::CallbackInfo& info) {
  WriteByte(info.Env(), kMagic);
  CloseDescriptor();
}

void Watchdog::Close(const Napi::CallbackInfo&) { CloseDescriptor(); }

}  // namespace kennel
