// A pseudo terminal pair: the simulated card's serial line. The card holds the master; the host
// opens `path` as it would open a UART. Or, as class Line, a character device that is there already
// and is no terminal, in the place of the master.
//
// Readiness comes from a uv_poll_t on the master. The other ways were weighed: tty.ReadStream reads
// a master well, but closes the descriptor itself, and writing through it blocks the event loop
// once the host stops reading; fs streams occupy one of the four threads of the pool for as long as
// the line is silent, and hold up the exit; net.Socket refuses terminals. A poll handle gives both
// directions, blocks nothing and can be left out of what keeps the process alive.
#pragma once

#include <napi.h>
#include <uv.h>

#include <string>

namespace kennel {

class Pty : public Napi::ObjectWrap<Pty> {
 public:
  static void Register(Napi::Env env, Napi::Object exports);

  // new Pty() opens a pair in raw mode, new Line(path) the device.
  explicit Pty(const Napi::CallbackInfo& info);
  ~Pty() override;

 private:
  // Lives until libuv has let go of the handle, which is after close() and maybe after the Pty.
  struct Poller {
    uv_poll_t handle;
    Pty* owner;
    napi_async_cleanup_hook_handle hook;
  };

  Napi::Value MasterFd(const Napi::CallbackInfo& info);
  Napi::Value Path(const Napi::CallbackInfo& info);
  Napi::Value Write(const Napi::CallbackInfo& info);
  Napi::Value Read(const Napi::CallbackInfo& info);
  void OnReady(const Napi::CallbackInfo& info);
  void KeepAlive(const Napi::CallbackInfo& info);
  void LetExit(const Napi::CallbackInfo& info);
  void HangUp(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo& info);

  static void Ready(uv_poll_t* handle, int status, int events);
  static void AtEnvironmentEnd(napi_async_cleanup_hook_handle hook, void* poller);
  static void Release(Poller* poller);

  void OpenPair(Napi::Env env);
  void OpenDevice(Napi::Env env, const std::string& path);
  void OpenSlave(Napi::Env env);
  void Poll();
  void Tell(const char* what);
  void StopPolling();
  void CloseDescriptors();

  std::string path_;
  int master_ = -1;
  // Held so that a line nobody has opened is silent and not hung up.
  int slave_ = -1;
  Poller* poller_ = nullptr;
  bool want_room_ = false;
  Napi::FunctionReference ready_;
};

}  // namespace kennel
