// The date (CLOCK_REALTIME), set on a host's command. No policy: who may do so is the caller's
// affair, and nothing here counts on the date.
#pragma once

#include <napi.h>

namespace kennel {

void RegisterClock(Napi::Env env, Napi::Object exports);

}  // namespace kennel
