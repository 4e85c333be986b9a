// One open Linux watchdog: every WDIOC_* call of include/uapi/linux/watchdog.h and no policy.
// Timeouts are whole seconds, as the driver counts them.
#pragma once

#include <napi.h>

#include <string>

namespace kennel {

class Watchdog : public Napi::ObjectWrap<Watchdog> {
 public:
  static void Register(Napi::Env env, Napi::Object exports);

  // new Watchdog(path) opens, and thereby arms, the device. new Watchdog(path, fd) takes over a
  // descriptor that is open already and owns it from then on.
  explicit Watchdog(const Napi::CallbackInfo& info);

  // Closing without the magic character leaves the hardware armed, on purpose: a collected object
  // is a lost owner, and a lost owner is what a watchdog is for. This holds where the driver has
  // WDIOF_MAGICCLOSE; without it every close disarms, and nowayout is the only remedy.
  ~Watchdog() override;

 private:
  Napi::Value Fd(const Napi::CallbackInfo& info);
  Napi::Value GetSupport(const Napi::CallbackInfo& info);
  Napi::Value GetStatus(const Napi::CallbackInfo& info);
  Napi::Value GetBootStatus(const Napi::CallbackInfo& info);
  Napi::Value GetTemp(const Napi::CallbackInfo& info);
  void SetOptions(const Napi::CallbackInfo& info);
  void KeepAlive(const Napi::CallbackInfo& info);
  Napi::Value SetTimeout(const Napi::CallbackInfo& info);
  Napi::Value GetTimeout(const Napi::CallbackInfo& info);
  Napi::Value SetPretimeout(const Napi::CallbackInfo& info);
  Napi::Value GetPretimeout(const Napi::CallbackInfo& info);
  Napi::Value GetTimeLeft(const Napi::CallbackInfo& info);
  void Write(const Napi::CallbackInfo& info);
  void MagicClose(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo& info);

  void Adopt(const Napi::CallbackInfo& info);
  // One ioctl whose argument is `argument`; throws an error named after `request_name`.
  void Call(Napi::Env env, unsigned long request, const char* request_name, void* argument);
  Napi::Value ReadInteger(Napi::Env env, unsigned long request, const char* request_name);
  void WriteByte(Napi::Env env, char byte);
  void CloseDescriptor();

  std::string path_;
  int fd_ = -1;
};

}  // namespace kennel
