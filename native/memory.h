// Locks the code the refresh thread runs. Never mlockall: V8 returns pages with
// madvise(MADV_DONTNEED), which fails on locked memory, and then aborts the process.
#pragma once

#include <cstddef>

namespace kennel {

struct LockResult {
  size_t bytes = 0;
  // A positive errno of the first mlock that failed, or 0.
  int error = 0;
};

// Locks the loaded segments of this addon, the C library and the dynamic loader, once per process:
// about 2 MB with glibc. Later calls answer what the first one did.
LockResult LockOwnCode();

}  // namespace kennel
