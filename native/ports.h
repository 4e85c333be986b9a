// What serial libraries leave out of ports: exclusion, single control lines, and who is at the
// other end of a Unix socket.
#pragma once

#include <napi.h>

namespace kennel {

void RegisterPorts(Napi::Env env, Napi::Object exports);

}  // namespace kennel
