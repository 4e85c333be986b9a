// RuntimeService: the refresh thread (refresher.h, where the placement formula is written down) as
// a JavaScript object. JavaScript moves the promised deadline and reads counters, nothing else.
#pragma once

#include <napi.h>

#include <memory>

#include "refresher.h"

namespace kennel {

class RuntimeService : public Napi::ObjectWrap<RuntimeService> {
 public:
  static void Register(Napi::Env env, Napi::Object exports);

  // new RuntimeService({ fd, kind, hardwareMs, promiseMs, minGapMs }) starts the thread. It works
  // on a duplicate of `fd`: a descriptor closed in JavaScript and reused for some file must never
  // be written to.
  explicit RuntimeService(const Napi::CallbackInfo& info);
  ~RuntimeService() override;

 private:
  static Napi::Value NextRefreshNs(const Napi::CallbackInfo& info);
  static void AtEnvironmentEnd(void* service);

  void CheckIn(const Napi::CallbackInfo& info);
  Napi::Value Stats(const Napi::CallbackInfo& info);
  Napi::Value Samples(const Napi::CallbackInfo& info);
  Napi::Value StopThread(const Napi::CallbackInfo& info);
  bool Stop();

  std::unique_ptr<RefreshThread> thread_;
  int fd_ = -1;
  napi_env hooked_ = nullptr;
};

}  // namespace kennel
