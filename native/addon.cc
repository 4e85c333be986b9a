// Registers the classes, nothing else.
#include <napi.h>

#include "clock.h"
#include "notify.h"
#include "peer.h"
#include "ports.h"
#include "pty.h"
#include "runtime.h"
#include "tee.h"
#include "watchdog.h"

static Napi::Object Register(Napi::Env env, Napi::Object exports) {
  kennel::Watchdog::Register(env, exports);
  kennel::RuntimeService::Register(env, exports);
  kennel::Pty::Register(env, exports);
  kennel::Tee::Register(env, exports);
  kennel::RegisterNotify(env, exports);
  kennel::RegisterPeer(env, exports);
  kennel::RegisterClock(env, exports);
  kennel::RegisterPorts(env, exports);
  return exports;
}

NODE_API_MODULE(kennel, Register)
