#include "peer.h"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>

#include "errors.h"

namespace kennel {

namespace {

// Supplementary groups that are looked at. A process with more (Linux allows 65536) is taken for
// one with none: groups only ever give leave, so that this errs on the safe side.
constexpr size_t kGroupsMax = 256;

// Asks which groups the peer is in besides its own; none where the kernel is older than 4.13.
Napi::Array Groups(Napi::Env env, int fd) {
  std::array<gid_t, kGroupsMax> groups = {};
  socklen_t bytes = sizeof(groups);
  const bool known = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &bytes) == 0;
  const size_t count = known ? bytes / sizeof(gid_t) : 0;
  Napi::Array list = Napi::Array::New(env, count);
  for (size_t at = 0; at < count; at += 1) {
    list.Set(static_cast<uint32_t>(at), Napi::Number::New(env, groups[at]));
  }
  return list;
}

// peerCredentials(fd): { pid, uid, gid, groups } of whoever called connect(2). A socket that is
// not one of these fails with its errno: ENOTSOCK, EBADF. For one without a peer the kernel says
// user -1, which is refused here as ENOTCONN. A pid of 0 is a process that this one cannot see.
Napi::Value PeerCredentials(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const int fd = IntegerArgument(info, 0, "fd", 0, INT_MAX);
  ucred peer = {};
  socklen_t bytes = sizeof(peer);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) != 0) {
    throw ErrnoError(env, errno, "getsockopt", "");
  }
  if (bytes != sizeof(peer) || peer.uid == static_cast<uid_t>(-1)) {
    throw ErrnoError(env, ENOTCONN, "getsockopt", "");
  }
  Napi::Object found = Napi::Object::New(env);
  found.Set("pid", Napi::Number::New(env, peer.pid));
  found.Set("uid", Napi::Number::New(env, peer.uid));
  found.Set("gid", Napi::Number::New(env, peer.gid));
  found.Set("groups", Groups(env, fd));
  return found;
}

}  // namespace

void RegisterPeer(Napi::Env env, Napi::Object exports) {
  exports.Set("peerCredentials", Napi::Function::New(env, PeerCredentials, "peerCredentials"));
}

}  // namespace kennel
