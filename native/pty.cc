#include "pty.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "errors.h"

namespace kennel {

namespace {

constexpr int kReadBytesMax = 65536;

}  // namespace

void Pty::Register(Napi::Env env, Napi::Object exports) {
  exports.Set("Pty", DefineClass(env, "Pty",
                                 {
                                     InstanceAccessor<&Pty::MasterFd>("masterFd"),
                                     InstanceAccessor<&Pty::Path>("path"),
                                     InstanceMethod<&Pty::Write>("write"),
                                     InstanceMethod<&Pty::Read>("read"),
                                     InstanceMethod<&Pty::OnReady>("onReady"),
                                     InstanceMethod<&Pty::KeepAlive>("ref"),
                                     InstanceMethod<&Pty::LetExit>("unref"),
                                     InstanceMethod<&Pty::HangUp>("hangUp"),
                                     InstanceMethod<&Pty::Close>("close"),
                                 }));
  exports.Set("Line", DefineClass(env, "Line",
                                  {
                                      InstanceMethod<&Pty::Write>("write"),
                                      InstanceMethod<&Pty::Read>("read"),
                                      InstanceMethod<&Pty::OnReady>("onReady"),
                                      InstanceMethod<&Pty::Close>("close"),
                                  }));
}

Pty::Pty(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Pty>(info) {
  try {
    if (info[0].IsString()) {
      OpenDevice(info.Env(), info[0].As<Napi::String>());
    } else {
      OpenPair(info.Env());
      OpenSlave(info.Env());
    }
  } catch (...) {
    CloseDescriptors();
    throw;
  }
}

Pty::~Pty() {
  StopPolling();
  CloseDescriptors();
}

void Pty::OpenPair(Napi::Env env) {
  master_ = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
  if (master_ < 0) throw ErrnoError(env, errno, "posix_openpt", "/dev/ptmx");
  char path[128];
  if (grantpt(master_) < 0) throw ErrnoError(env, errno, "grantpt", "/dev/ptmx");
  if (unlockpt(master_) < 0) throw ErrnoError(env, errno, "unlockpt", "/dev/ptmx");
  const int error = ptsname_r(master_, path, sizeof(path));
  if (error != 0) throw ErrnoError(env, error, "ptsname_r", "/dev/ptmx");
  path_ = path;
}

// No termios and nothing else beside open, read, write and poll: /dev/rshim*/console has no more.
void Pty::OpenDevice(Napi::Env env, const std::string& path) {
  path_ = path;
  master_ = open(path.c_str(), O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
  if (master_ < 0) throw ErrnoError(env, errno, "open", path_);
}

// Opens our own end of the slave, raw: no echo, no line editing, eight clean bits.
void Pty::OpenSlave(Napi::Env env) {
  slave_ = open(path_.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (slave_ < 0) throw ErrnoError(env, errno, "open", path_);
  termios settings = {};
  if (tcgetattr(slave_, &settings) < 0) throw ErrnoError(env, errno, "tcgetattr", path_);
  cfmakeraw(&settings);
  if (tcsetattr(slave_, TCSANOW, &settings) < 0) throw ErrnoError(env, errno, "tcsetattr", path_);
}

void Pty::CloseDescriptors() {
  if (slave_ >= 0) close(slave_);
  if (master_ >= 0) close(master_);
  slave_ = master_ = -1;
}

Napi::Value Pty::MasterFd(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), master_);
}

Napi::Value Pty::Path(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), path_);
}

Napi::Value Pty::Write(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (!info[0].IsTypedArray() ||
      info[0].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    throw ArgumentError(env, "ERR_INVALID_ARG_TYPE", "the bytes must be a Uint8Array");
  }
  const auto bytes = info[0].As<Napi::Uint8Array>();
  ssize_t written;
  do {
    written = master_ < 0 ? -1 : write(master_, bytes.Data(), bytes.ByteLength());
  } while (master_ >= 0 && written < 0 && errno == EINTR);
  if (written < 0) {
    const int error = master_ < 0 ? EBADF : errno;
    if (error != EAGAIN) throw ErrnoError(env, error, "write", path_);
    written = 0;
  }
  if (static_cast<size_t>(written) < bytes.ByteLength()) {
    want_room_ = true;
    Poll();
  }
  return Napi::Number::New(env, static_cast<double>(written));
}

Napi::Value Pty::Read(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  std::vector<uint8_t> bytes(IntegerArgument(info, 0, "max", 1, kReadBytesMax));
  ssize_t count;
  do {
    count = master_ < 0 ? -1 : read(master_, bytes.data(), bytes.size());
  } while (master_ >= 0 && count < 0 && errno == EINTR);
  if (count > 0) return Napi::Buffer<uint8_t>::Copy(env, bytes.data(), count);
  // A master never has nothing; a device that does was hung up, and would be readable for ever.
  const int error = master_ < 0 ? EBADF : count == 0 ? ENODEV : errno;
  if (error != EAGAIN) throw ErrnoError(env, error, "read", path_);
  return env.Null();
}

void Pty::OnReady(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (!info[0].IsFunction()) {
    throw ArgumentError(env, "ERR_INVALID_ARG_TYPE", "the listener must be a function");
  }
  if (master_ < 0) throw ErrnoError(env, EBADF, "uv_poll_start", path_);
  if (poller_ == nullptr) {
    uv_loop_t* loop = nullptr;
    napi_get_uv_event_loop(env, &loop);
    auto* poller = new Poller{};
    const int error = uv_poll_init(loop, &poller->handle, master_);
    if (error != 0) {
      delete poller;
      throw ErrnoError(env, -error, "uv_poll_init", path_);
    }
    poller->owner = this;
    poller->handle.data = poller;
    napi_add_async_cleanup_hook(env, AtEnvironmentEnd, poller, &poller->hook);
    poller_ = poller;
    // A line with a listener is not garbage, even when nobody else knows it.
    Ref();
  }
  ready_ = Napi::Persistent(info[0].As<Napi::Function>());
  Poll();
}

// Always for reading; for writing only after a write that found too little room.
void Pty::Poll() {
  if (poller_ == nullptr) return;
  uv_poll_start(&poller_->handle, UV_READABLE | (want_room_ ? UV_WRITABLE : 0), Ready);
}

void Pty::Ready(uv_poll_t* handle, int status, int events) {
  Pty* self = static_cast<Poller*>(handle->data)->owner;
  if (self == nullptr) return;
  Napi::HandleScope scope(self->Env());
  // A listener that closes the line may be the last who knew it.
  [[maybe_unused]] const Napi::Object alive = self->Value();
  // libuv stops the handle by itself when it reports an error.
  if (status < 0) return self->Tell("lost");
  if ((events & UV_WRITABLE) != 0) {
    self->want_room_ = false;
    self->Poll();
    self->Tell("writable");
  }
  // The listener may have closed the line.
  if ((events & UV_READABLE) != 0 && self->poller_ != nullptr) self->Tell("readable");
}

void Pty::Tell(const char* what) {
  Napi::Env env = Env();
  try {
    // The listener may replace or drop itself while it runs.
    Napi::Function listener = ready_.Value();
    listener.MakeCallback(env.Global(), {Napi::String::New(env, what)});
  } catch (const Napi::Error& error) {
    napi_fatal_exception(env, error.Value());
  }
}

void Pty::KeepAlive(const Napi::CallbackInfo&) {
  if (poller_ != nullptr) uv_ref(reinterpret_cast<uv_handle_t*>(&poller_->handle));
}

void Pty::LetExit(const Napi::CallbackInfo&) {
  if (poller_ != nullptr) uv_unref(reinterpret_cast<uv_handle_t*>(&poller_->handle));
}

// What the host sees when a USB serial adapter is pulled: everything that has the line open is cut
// off, and the line can be opened again.
void Pty::HangUp(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (slave_ < 0) throw ErrnoError(env, EBADF, "TIOCVHANGUP", path_);
  if (ioctl(slave_, TIOCVHANGUP) < 0) throw ErrnoError(env, errno, "TIOCVHANGUP", path_);
  close(slave_);
  slave_ = -1;
  OpenSlave(env);
}

void Pty::Close(const Napi::CallbackInfo&) {
  const bool listening = poller_ != nullptr;
  StopPolling();
  CloseDescriptors();
  ready_.Reset();
  if (listening) Unref();
}

void Pty::StopPolling() {
  if (poller_ == nullptr) return;
  Poller* poller = poller_;
  poller_ = nullptr;
  Release(poller);
}

// The environment ends while the line is open: libuv must let go of the handle before its loop is
// torn down, and an asynchronous hook makes the loop turn until it has.
void Pty::AtEnvironmentEnd(napi_async_cleanup_hook_handle, void* data) {
  auto* poller = static_cast<Poller*>(data);
  if (poller->owner != nullptr) poller->owner->poller_ = nullptr;
  Release(poller);
}

void Pty::Release(Poller* poller) {
  if (poller->owner == nullptr) return;
  poller->owner = nullptr;
  uv_poll_stop(&poller->handle);
  uv_close(reinterpret_cast<uv_handle_t*>(&poller->handle), [](uv_handle_t* handle) {
    auto* closed = static_cast<Poller*>(handle->data);
    napi_remove_async_cleanup_hook(closed->hook);
    delete closed;
  });
}

}  // namespace kennel
