// One TEE ioctl on a thread of its own. It may never return: what it uses is shared with it, so
// that closing the device or freeing memory meanwhile takes nothing away under its feet.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace kennel {

// An open /dev/teeN; closed when nobody uses it any more.
struct TeeDescriptor {
  explicit TeeDescriptor(int descriptor) : fd(descriptor) {}
  ~TeeDescriptor();
  TeeDescriptor(const TeeDescriptor&) = delete;
  const int fd;
};

// Shared memory of the driver (TEE_IOC_SHM_ALLOC), mapped; given back when nobody uses it.
struct TeeMapping {
  TeeMapping(int descriptor, void* start, size_t bytes)
      : fd(descriptor), data(static_cast<uint8_t*>(start)), size(bytes) {}
  ~TeeMapping();
  TeeMapping(const TeeMapping&) = delete;
  const int fd;
  uint8_t* const data;
  const size_t size;
};

// What an ioctl needs and what came of it.
struct TeeCall {
  enum class Kind { kOpen, kInvoke, kCancel, kClose };

  Kind kind;
  std::shared_ptr<TeeDescriptor> device;
  // Kept while the secure world may read or write them.
  std::vector<std::shared_ptr<TeeMapping>> memories;
  // The argument, with its parameters behind it; eight bytes each, hence aligned as the kernel
  // wants it.
  std::vector<uint64_t> argument;
  // A positive errno, or 0 when the ioctl returned.
  int error = 0;
  Napi::ThreadSafeFunction done;
};

// Starts the call and returns; `done` of it is called once with what came of it, if anything ever
// does. Throws EAGAIN when no thread can be had.
void StartTeeCall(Napi::Env env, std::unique_ptr<TeeCall> call);

}  // namespace kennel
