#include "tee.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>

#include "errors.h"
#include "teelayout.h"

namespace kennel {

namespace {

constexpr size_t kNumbersPerParameter = sizeof(tee_ioctl_param) / sizeof(uint64_t);

uint32_t Unsigned(const Napi::CallbackInfo& info, size_t index, const char* name) {
  const double value = info[index].IsNumber() ? info[index].As<Napi::Number>().DoubleValue() : -1;
  if (!(value >= 0 && value <= UINT32_MAX && value == static_cast<uint32_t>(value))) {
    throw ArgumentError(info.Env(), "ERR_OUT_OF_RANGE",
                        std::string(name) + " must be a whole number from 0 to 4294967295");
  }
  return static_cast<uint32_t>(value);
}

Napi::Uint8Array Bytes(const Napi::CallbackInfo& info, size_t index, const char* name) {
  const bool fits = info[index].IsTypedArray() &&
                    info[index].As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array;
  if (!fits) {
    throw ArgumentError(info.Env(), "ERR_INVALID_ARG_TYPE",
                        std::string(name) + " must be a Uint8Array");
  }
  return info[index].As<Napi::Uint8Array>();
}

bool IsMemref(uint64_t attr) {
  const uint64_t type = attr & TEE_IOCTL_PARAM_ATTR_TYPE_MASK;
  return type >= TEE_IOCTL_PARAM_ATTR_TYPE_MEMREF_INPUT &&
         type <= TEE_IOCTL_PARAM_ATTR_TYPE_MEMREF_INOUT;
}

}  // namespace

void Tee::Register(Napi::Env env, Napi::Object exports) {
  exports.Set("Tee", DefineClass(env, "Tee",
                                 {
                                     InstanceMethod<&Tee::Version>("version"),
                                     InstanceMethod<&Tee::Allocate>("allocate"),
                                     InstanceMethod<&Tee::Write>("write"),
                                     InstanceMethod<&Tee::Read>("read"),
                                     InstanceMethod<&Tee::Free>("free"),
                                     InstanceMethod<&Tee::OpenSession>("openSession"),
                                     InstanceMethod<&Tee::Invoke>("invoke"),
                                     InstanceMethod<&Tee::Cancel>("cancel"),
                                     InstanceMethod<&Tee::CloseSession>("closeSession"),
                                     InstanceMethod<&Tee::Close>("close"),
                                 }));
}

Tee::Tee(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Tee>(info) {
  if (!info[0].IsString()) {
    throw ArgumentError(info.Env(), "ERR_INVALID_ARG_TYPE", "the path must be a string");
  }
  path_ = info[0].As<Napi::String>().Utf8Value();
  int fd;
  do {
    fd = open(path_.c_str(), O_RDWR | O_CLOEXEC);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) throw ErrnoError(info.Env(), errno, "open", path_);
  device_ = std::make_shared<TeeDescriptor>(fd);
}

int Tee::Fd(Napi::Env env, const char* syscall) {
  if (!device_) throw ErrnoError(env, EBADF, syscall, path_);
  return device_->fd;
}

Napi::Value Tee::Version(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  tee_ioctl_version_data version = {};
  if (ioctl(Fd(env, "TEE_IOC_VERSION"), TEE_IOC_VERSION, &version) < 0) {
    throw ErrnoError(env, errno, "TEE_IOC_VERSION", path_);
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("implementation", Napi::Number::New(env, version.impl_id));
  result.Set("implementationCaps", Napi::Number::New(env, version.impl_caps));
  result.Set("genericCaps", Napi::Number::New(env, version.gen_caps));
  return result;
}

Napi::Value Tee::Allocate(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  tee_ioctl_shm_alloc_data data = {};
  const int wanted = IntegerArgument(info, 0, "size", 1, INT_MAX);
  data.size = static_cast<uint64_t>(wanted);
  const int fd = ioctl(Fd(env, "TEE_IOC_SHM_ALLOC"), TEE_IOC_SHM_ALLOC, &data);
  if (fd < 0) throw ErrnoError(env, errno, "TEE_IOC_SHM_ALLOC", path_);
  // The driver may round the size up, and writes it back: less than was asked for is no memory.
  if (data.size < static_cast<uint64_t>(wanted) || data.id < 0) {
    close(fd);
    throw ErrnoError(env, EPROTO, "TEE_IOC_SHM_ALLOC", path_);
  }
  void* start = mmap(nullptr, wanted, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (start == MAP_FAILED) {
    const int error = errno;
    close(fd);
    throw ErrnoError(env, error, "mmap", path_);
  }
  memories_[data.id] = std::make_shared<TeeMapping>(fd, start, wanted);
  return Napi::Number::New(env, data.id);
}

std::shared_ptr<TeeMapping> Tee::Memory(const Napi::CallbackInfo& info) {
  const auto found = memories_.find(IntegerArgument(info, 0, "id", 0, INT_MAX));
  if (found == memories_.end()) {
    throw ArgumentError(info.Env(), "ERR_OUT_OF_RANGE", "no shared memory has this id");
  }
  return found->second;
}

void Tee::Write(const Napi::CallbackInfo& info) {
  const auto memory = Memory(info);
  const size_t offset = Unsigned(info, 1, "offset");
  const Napi::Uint8Array bytes = Bytes(info, 2, "bytes");
  if (offset > memory->size || bytes.ByteLength() > memory->size - offset) {
    throw ArgumentError(info.Env(), "ERR_OUT_OF_RANGE", "the bytes do not fit into the memory");
  }
  if (bytes.ByteLength() > 0) memcpy(memory->data + offset, bytes.Data(), bytes.ByteLength());
}

Napi::Value Tee::Read(const Napi::CallbackInfo& info) {
  const auto memory = Memory(info);
  const size_t offset = Unsigned(info, 1, "offset");
  const size_t length = Unsigned(info, 2, "length");
  if (offset > memory->size || length > memory->size - offset) {
    throw ArgumentError(info.Env(), "ERR_OUT_OF_RANGE", "the memory has no such range");
  }
  return Napi::Buffer<uint8_t>::Copy(info.Env(), memory->data + offset, length);
}

void Tee::Free(const Napi::CallbackInfo& info) {
  Memory(info);
  memories_.erase(IntegerArgument(info, 0, "id", 0, INT_MAX));
}

std::unique_ptr<TeeCall> Tee::Prepare(const Napi::CallbackInfo& info, TeeCall::Kind kind,
                                      size_t header_bytes, size_t index) {
  Napi::Env env = info.Env();
  Fd(env, "ioctl");
  const bool fits = info[index].IsTypedArray() &&
                    info[index].As<Napi::TypedArray>().TypedArrayType() == napi_biguint64_array;
  if (!fits) {
    throw ArgumentError(env, "ERR_INVALID_ARG_TYPE", "the parameters must be a BigUint64Array");
  }
  const Napi::BigUint64Array numbers = info[index].As<Napi::BigUint64Array>();
  const size_t count = numbers.ElementLength();
  const size_t most = (TEE_MAX_ARG_SIZE - header_bytes) / sizeof(uint64_t);
  if (count % kNumbersPerParameter != 0 || count > most) {
    throw ArgumentError(env, "ERR_OUT_OF_RANGE",
                        "parameters are four numbers each, and an argument of the driver has at "
                        "most 1024 bytes");
  }
  auto call = std::make_unique<TeeCall>();
  call->kind = kind;
  call->device = device_;
  call->argument.assign(header_bytes / sizeof(uint64_t) + count, 0);
  uint64_t* params = call->argument.data() + header_bytes / sizeof(uint64_t);
  for (size_t at = 0; at < count; at++) params[at] = numbers[at];
  for (size_t at = 0; at < count; at += kNumbersPerParameter) {
    const uint64_t attr = params[at], offset = params[at + 1], size = params[at + 2];
    const uint64_t id = params[at + 3];
    if (!IsMemref(attr) || id == TEE_MEMREF_NULL) continue;
    const auto found = id <= INT_MAX ? memories_.find(static_cast<int>(id)) : memories_.end();
    const bool known = found != memories_.end();
    if (!known || offset > found->second->size || size > found->second->size - offset) {
      throw ArgumentError(env, "ERR_OUT_OF_RANGE",
                          "a memory reference is outside the shared memory of this device");
    }
    call->memories.push_back(found->second);
  }
  return call;
}

void Tee::Start(const Napi::CallbackInfo& info, std::unique_ptr<TeeCall> call, size_t index) {
  Napi::Env env = info.Env();
  if (!info[index].IsFunction()) {
    throw ArgumentError(env, "ERR_INVALID_ARG_TYPE", "the last argument must be a function");
  }
  call->done =
      Napi::ThreadSafeFunction::New(env, info[index].As<Napi::Function>(), "kennel tee", 0, 1);
  StartTeeCall(env, std::move(call));
}

void Tee::OpenSession(const Napi::CallbackInfo& info) {
  const Napi::Uint8Array uuid = Bytes(info, 0, "uuid");
  const Napi::Uint8Array client = Bytes(info, 2, "clientUuid");
  if (uuid.ByteLength() != TEE_IOCTL_UUID_LEN || client.ByteLength() != TEE_IOCTL_UUID_LEN) {
    throw ArgumentError(info.Env(), "ERR_OUT_OF_RANGE", "a UUID has 16 bytes");
  }
  auto call = Prepare(info, TeeCall::Kind::kOpen, sizeof(tee_ioctl_open_session_arg), 4);
  auto* open = reinterpret_cast<tee_ioctl_open_session_arg*>(call->argument.data());
  memcpy(open->uuid, uuid.Data(), TEE_IOCTL_UUID_LEN);
  memcpy(open->clnt_uuid, client.Data(), TEE_IOCTL_UUID_LEN);
  open->clnt_login = Unsigned(info, 1, "login");
  open->cancel_id = Unsigned(info, 3, "cancelId");
  open->num_params = info[4].As<Napi::BigUint64Array>().ElementLength() / kNumbersPerParameter;
  Start(info, std::move(call), 5);
}

void Tee::Invoke(const Napi::CallbackInfo& info) {
  auto call = Prepare(info, TeeCall::Kind::kInvoke, sizeof(tee_ioctl_invoke_arg), 3);
  auto* invoke = reinterpret_cast<tee_ioctl_invoke_arg*>(call->argument.data());
  invoke->session = Unsigned(info, 0, "session");
  invoke->func = Unsigned(info, 1, "command");
  invoke->cancel_id = Unsigned(info, 2, "cancelId");
  invoke->num_params = info[3].As<Napi::BigUint64Array>().ElementLength() / kNumbersPerParameter;
  Start(info, std::move(call), 4);
}

void Tee::Cancel(const Napi::CallbackInfo& info) {
  Fd(info.Env(), "TEE_IOC_CANCEL");
  auto call = std::make_unique<TeeCall>();
  call->kind = TeeCall::Kind::kCancel;
  call->device = device_;
  call->argument.assign(1, 0);
  auto* cancel = reinterpret_cast<tee_ioctl_cancel_arg*>(call->argument.data());
  cancel->cancel_id = Unsigned(info, 0, "cancelId");
  cancel->session = Unsigned(info, 1, "session");
  Start(info, std::move(call), 2);
}

void Tee::CloseSession(const Napi::CallbackInfo& info) {
  Fd(info.Env(), "TEE_IOC_CLOSE_SESSION");
  auto call = std::make_unique<TeeCall>();
  call->kind = TeeCall::Kind::kClose;
  call->device = device_;
  call->argument.assign(1, 0);
  auto* closing = reinterpret_cast<tee_ioctl_close_session_arg*>(call->argument.data());
  closing->session = Unsigned(info, 0, "session");
  Start(info, std::move(call), 1);
}

void Tee::Close(const Napi::CallbackInfo&) {
  memories_.clear();
  device_.reset();
}

}  // namespace kennel
