// What serial libraries leave out of ports: exclusion and single control lines.
#pragma once

#include <napi.h>

namespace kennel {

void RegisterPorts(Napi::Env env, Napi::Object exports);

}  // namespace kennel
