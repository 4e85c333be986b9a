// One open TEE device: the ioctls of include/uapi/linux/tee.h that a client makes, and no policy.
// Calls that go into the secure world run on threads of their own and may never come back: use it
// in a process that can be done without.
#pragma once

#include <napi.h>

#include <map>
#include <memory>
#include <string>

#include "teecall.h"

namespace kennel {

class Tee : public Napi::ObjectWrap<Tee> {
 public:
  static void Register(Napi::Env env, Napi::Object exports);

  // new Tee(path) opens the device: a client context of its own.
  explicit Tee(const Napi::CallbackInfo& info);

 private:
  Napi::Value Version(const Napi::CallbackInfo& info);
  Napi::Value Allocate(const Napi::CallbackInfo& info);
  void Write(const Napi::CallbackInfo& info);
  Napi::Value Read(const Napi::CallbackInfo& info);
  void Free(const Napi::CallbackInfo& info);
  void OpenSession(const Napi::CallbackInfo& info);
  void Invoke(const Napi::CallbackInfo& info);
  void Cancel(const Napi::CallbackInfo& info);
  void CloseSession(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo& info);

  // Throws EBADF once closed.
  int Fd(Napi::Env env, const char* syscall);
  std::shared_ptr<TeeMapping> Memory(const Napi::CallbackInfo& info);
  // A call with a zeroed argument of `header_bytes` and the parameters of info[index] behind it.
  std::unique_ptr<TeeCall> Prepare(const Napi::CallbackInfo& info, TeeCall::Kind kind,
                                   size_t header_bytes, size_t index);
  void Start(const Napi::CallbackInfo& info, std::unique_ptr<TeeCall> call, size_t index);

  std::string path_;
  std::shared_ptr<TeeDescriptor> device_;
  // By the driver's identifier.
  std::map<int, std::shared_ptr<TeeMapping>> memories_;
};

}  // namespace kennel
