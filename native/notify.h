// One datagram to a service manager's socket (sd_notify(3)), with or without a descriptor. No
// policy: what is said, and to whom, is the caller's affair.
#pragma once

#include <napi.h>

namespace kennel {

void RegisterNotify(Napi::Env env, Napi::Object exports);

}  // namespace kennel
