#include "teecall.h"

#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "errors.h"
#include "teelayout.h"

namespace kennel {

namespace {

unsigned long RequestOf(TeeCall::Kind kind) {
  switch (kind) {
    case TeeCall::Kind::kOpen:
      return TEE_IOC_OPEN_SESSION;
    case TeeCall::Kind::kInvoke:
      return TEE_IOC_INVOKE;
    case TeeCall::Kind::kCancel:
      return TEE_IOC_CANCEL;
    default:
      return TEE_IOC_CLOSE_SESSION;
  }
}

bool TakesBuffer(TeeCall::Kind kind) {
  return kind == TeeCall::Kind::kOpen || kind == TeeCall::Kind::kInvoke;
}

// Never repeated on EINTR: the secure world may have done already what was asked.
void Perform(TeeCall* call) {
  tee_ioctl_buf_data buffer = {};
  buffer.buf_ptr = reinterpret_cast<uintptr_t>(call->argument.data());
  buffer.buf_len = call->argument.size() * sizeof(uint64_t);
  void* argument = TakesBuffer(call->kind) ? static_cast<void*>(&buffer) : call->argument.data();
  const int result = ioctl(call->device->fd, RequestOf(call->kind), argument);
  call->error = result < 0 ? errno : 0;
}

// The parameters as they came back: four numbers each.
Napi::Value ParametersOf(Napi::Env env, const TeeCall& call, size_t header_bytes) {
  const size_t start = header_bytes / sizeof(uint64_t);
  const size_t count = call.argument.size() - start;
  Napi::BigUint64Array numbers = Napi::BigUint64Array::New(env, count);
  for (size_t index = 0; index < count; index++) numbers[index] = call.argument[start + index];
  return numbers;
}

// Both error channels, kept apart: `errno` says how the ioctl went, `ret` and `origin` what the
// TEE said, and those count only when `errno` is null.
Napi::Object ResultOf(Napi::Env env, const TeeCall& call) {
  Napi::Object result = Napi::Object::New(env);
  const bool failed = call.error != 0;
  result.Set("errno", failed ? Napi::String::New(env, uv_err_name(-call.error)) : env.Null());
  uint32_t ret = 0, origin = 0;
  if (call.kind == TeeCall::Kind::kOpen) {
    const auto* open = reinterpret_cast<const tee_ioctl_open_session_arg*>(call.argument.data());
    ret = open->ret;
    origin = open->ret_origin;
    result.Set("session", Napi::Number::New(env, open->session));
    result.Set("params", ParametersOf(env, call, sizeof(*open)));
  } else if (call.kind == TeeCall::Kind::kInvoke) {
    const auto* invoke = reinterpret_cast<const tee_ioctl_invoke_arg*>(call.argument.data());
    ret = invoke->ret;
    origin = invoke->ret_origin;
    result.Set("params", ParametersOf(env, call, sizeof(*invoke)));
  }
  result.Set("ret", Napi::Number::New(env, failed ? 0 : ret));
  result.Set("origin", Napi::Number::New(env, failed ? 0 : origin));
  return result;
}

void Tell(Napi::Env env, Napi::Function done, TeeCall* finished) {
  const std::unique_ptr<TeeCall> call(finished);
  // The environment is being torn down: nobody is left to be told.
  if (static_cast<napi_env>(env) == nullptr) return;
  done.Call({ResultOf(env, *call)});
}

void* Run(void* started) {
  auto* call = static_cast<TeeCall*>(started);
  Perform(call);
  Napi::ThreadSafeFunction done = call->done;
  if (done.BlockingCall(call, Tell) != napi_ok) delete call;
  done.Release();
  return nullptr;
}

// Signals belong to the main thread: one that lands here would end the ioctl half way.
int StartThread(TeeCall* call) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_t thread;
  const int error = pthread_create(&thread, &attributes, Run, call);
  pthread_attr_destroy(&attributes);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return error;
}

}  // namespace

TeeDescriptor::~TeeDescriptor() { close(fd); }

TeeMapping::~TeeMapping() {
  munmap(data, size);
  close(fd);
}

void StartTeeCall(Napi::Env env, std::unique_ptr<TeeCall> call) {
  const int error = StartThread(call.get());
  if (error != 0) {
    call->done.Release();
    throw ErrnoError(env, error, "pthread_create", "");
  }
  // The thread owns it from here on.
  call.release();
}

}  // namespace kennel
