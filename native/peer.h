// Who is at the other end of a Unix socket (unix(7): SO_PEERCRED, SO_PEERGROUPS), as the kernel
// noted it when the connection was made. No policy.
#pragma once

#include <napi.h>

namespace kennel {

void RegisterPeer(Napi::Env env, Napi::Object exports);

}  // namespace kennel
