#include "notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstring>
#include <string>

#include "errors.h"

namespace kennel {

namespace {

// unix(7): a path, or '@' for a name in the abstract namespace, which begins with a zero byte and
// ends where the address ends.
socklen_t Address(Napi::Env env, const std::string& path, sockaddr_un* address) {
  if (path.empty() || (path[0] != '/' && path[0] != '@') ||
      path.size() >= sizeof(address->sun_path)) {
    throw ArgumentError(env, "ERR_OUT_OF_RANGE",
                        "a notify socket is an absolute path or @NAME of at most 107 bytes");
  }
  address->sun_family = AF_UNIX;
  memcpy(address->sun_path, path.data(), path.size());
  const bool abstract = path[0] == '@';
  if (abstract) address->sun_path[0] = 0;
  const size_t bytes = path.size() + (abstract ? 0 : 1);
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + bytes);
}

// Sends one datagram; returns 0 or a positive errno. Never waits: a manager that does not read
// must not hold up the guard.
int Send(int socket, msghdr* message) {
  ssize_t sent;
  do {
    sent = sendmsg(socket, message, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  return sent < 0 ? errno : 0;
}

// notify(path, text, fd?): the receiver gets a descriptor of its own.
void Notify(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (!info[0].IsString() || !info[1].IsString()) {
    throw ArgumentError(env, "ERR_INVALID_ARG_TYPE", "path and text must be strings");
  }
  const std::string path = info[0].As<Napi::String>();
  std::string text = info[1].As<Napi::String>();
  const int fd = info.Length() < 3 ? -1 : IntegerArgument(info, 2, "fd", 0, INT_MAX);
  sockaddr_un address = {};
  const socklen_t address_bytes = Address(env, path, &address);
  iovec part = {text.data(), text.size()};
  msghdr message = {};
  message.msg_name = &address;
  message.msg_namelen = address_bytes;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  if (fd >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &fd, sizeof(int));
  }
  const int sender = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (sender < 0) throw ErrnoError(env, errno, "socket", path);
  const int error = Send(sender, &message);
  close(sender);
  if (error != 0) throw ErrnoError(env, error, "sendmsg", path);
}

}  // namespace

void RegisterNotify(Napi::Env env, Napi::Object exports) {
  exports.Set("notify", Napi::Function::New(env, Notify, "notify"));
}

}  // namespace kennel
