// SO_PEERCRED: who is at the other end is what the kernel says, whoever that is.
import { spawn } from "node:child_process";
import { chmodSync, chownSync, openSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Native, native, type SystemError } from "../../native/index.ts";
import { nativeObstacle, temporaryFolder, unless } from "../children.ts";
import { skip } from "../skip.ts";

const peers = suite("native peer");
const onNative = unless(nativeObstacle(), peers);

type Credentials = ReturnType<Native["peerCredentials"]>;

function descriptorOf(socket: Socket): number {
  return (socket as unknown as { _handle: { fd: number } })._handle.fd;
}

/** Who a child with these ids is to the server that it connects to. */
async function peerOf(ids: { uid?: number; gid?: number }): Promise<[Credentials, number]> {
  const folder = temporaryFolder();
  const path = join(folder, "peer.sock");
  const found = new Promise<Credentials>((resolve) => {
    const server = createServer((socket) => {
      resolve(native().peerCredentials(descriptorOf(socket)));
      socket.destroy();
      server.close();
    });
    server.listen(path);
  });
  chmodSync(path, 0o666);
  for (const above of [folder, join(folder, "..")]) {
    chmodSync(above, 0o711);
    if (ids.uid !== undefined) chownSync(above, 0, 0);
  }
  const program = `require("net").connect(${JSON.stringify(path)}).on("close", () => {})`;
  const child = spawn(process.execPath, ["-e", program], { cwd: "/", stdio: "ignore", ...ids });
  const ended = new Promise((resolve) => child.on("close", resolve));
  const peer = await found;
  await ended;
  return [peer, child.pid ?? 0];
}

onNative("a process of our own is known by pid, user and group", async () => {
  const [{ pid, uid, gid }, child] = await peerOf({});
  assert.equal([pid, uid, gid], [child, process.getuid?.(), process.getgid?.()]);
});

const isRoot = process.getuid?.() === 0 && nativeObstacle() === "";
if (isRoot) {
  peers("a process of another user is known as that one", async () => {
    const [{ uid, gid }] = await peerOf({ uid: 12_345, gid: 23_456 });
    assert.equal([uid, gid], [12_345, 23_456]);
  });
} else skip("a process of another user is known as that one", "needs root, to become one");

onNative("what is no connection has no peer", () => {
  const refused = (fd: number): string => {
    try {
      native().peerCredentials(fd);
      return "accepted";
    } catch (error) {
      return (error as SystemError).code;
    }
  };
  assert.is(refused(openSync("/dev/null", "r")), "ENOTSOCK");
  assert.is(refused(9_999), "EBADF");
  assert.is(refused(-1), "ERR_OUT_OF_RANGE");
});

peers.run();
