/** Keys as OpenSSH keeps them, and ssh-agent: with the real programs, and with a scripted agent. */
import { execFileSync, spawn } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { findSigners } from "../../agent/console/keys.ts";
import { sha256 } from "../../agent/io/digest.ts";
import { newKeyPair, signEd25519, verifier } from "../../agent/io/ed25519.ts";
import { agentKeys, agentSign } from "../../agent/io/sshagent.ts";
import { parsePrivate, privateText, publicBlob, publicLine } from "../../agent/io/sshkey.ts";
import { sshString, sshUint32 } from "../../agent/io/sshwire.ts";
import { parseKeys } from "../../agent/machines/authorizedkeys.ts";
import { rejectsCode, throwsCode } from "../assert.ts";
import { unless } from "../children.ts";
import { join as joined } from "../hex.ts";

const ssh = suite("ssh keys");
const withOpenSsh = unless(openSshObstacle(), ssh);
const data = new TextEncoder().encode("what is signed");

function openSshObstacle(): string {
  try {
    execFileSync("ssh-keygen", ["-?"], { stdio: "ignore" });
  } catch (error) {
    const isThere = (error as NodeJS.ErrnoException).code !== "ENOENT";
    return isThere ? "" : "ssh-keygen is not installed (apt-get install openssh-client)";
  }
  return "";
}

async function inFolder(body: (folder: string) => Promise<void> | void): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "kennel-ssh-"));
  try {
    await body(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const keygen = (...args: string[]): string =>
  execFileSync("ssh-keygen", args, { encoding: "utf8", stdio: "pipe" });

withOpenSsh("ssh-keygen reads what we write, and names it as we do", () =>
  inFolder((folder) => {
    for (const comment of ["", "ops", "ops@bench", "a rather long name of a key, with blanks"]) {
      const pair = newKeyPair();
      const path = join(folder, `id${comment.length}`);
      writeFileSync(path, privateText(pair, comment, Uint8Array.of(1, 2, 3, 4)), { mode: 0o600 });
      const blob = publicBlob(pair.publicKey);
      assert.is(keygen("-y", "-f", path).trim(), publicLine(blob, comment));
      const fingerprint = Buffer.from(sha256(blob)).toString("base64").replace(/=+$/, "");
      assert.match(keygen("-l", "-f", path), `SHA256:${fingerprint}`);
      assert.equal(parsePrivate(readFileSync(path, "utf8"), path), { blob, pair, comment });
    }
  }),
);

withOpenSsh("we read what ssh-keygen writes, byte for byte, and sign as it says", () =>
  inFolder(async (folder) => {
    for (let round = 0; round < 8; round++) {
      const path = join(folder, `id${round}`);
      keygen("-q", "-t", "ed25519", "-N", "", "-C", "k".repeat(round), "-f", path);
      const text = readFileSync(path, "utf8");
      const { pair, comment, blob } = parsePrivate(text, path);
      if (pair === null) throw new Error("it is not encrypted");
      const check = Buffer.from(text.split("\n").slice(1, -2).join(""), "base64").subarray(98, 102);
      assert.is(privateText(pair, comment, check), text);
      assert.equal(publicBlob(pair.publicKey), blob);
      const [signer] = await findSigners(path, {});
      const [key] = parseKeys(readFileSync(`${path}.pub`, "utf8")).keys;
      const signature = (await signer?.sign(data)) ?? new Uint8Array(0);
      assert.ok(verifier(key?.publicKey ?? new Uint8Array(0))(data, signature));
    }
  }),
);

withOpenSsh("what cannot be signed with is refused by name, and says what to do", () =>
  inFolder(async (folder) => {
    const path = join(folder, "id");
    keygen("-q", "-t", "ed25519", "-N", "secret", "-f", path);
    const encrypted = await rejectsCode(() => findSigners(path, {}), "key.encrypted");
    assert.match(encrypted.message, `ssh-add ${path}`);
    await rejectsCode(() => findSigners(`${path}.pub`, {}), "key.encrypted");
    const missing = await rejectsCode(() => findSigners(join(folder, "none"), {}), "key.missing");
    assert.match(missing.message, "kennel keygen");
    const other = join(folder, "ecdsa");
    keygen("-q", "-t", "ecdsa", "-N", "", "-f", other);
    const wrong = await rejectsCode(() => findSigners(other, {}), "key.invalid");
    assert.match(wrong.message, "ecdsa-sha2-nistp256");
    chmodSync(path, 0o644);
    assert.match(
      (await rejectsCode(() => findSigners(path, {}), "key.refused")).message,
      "chmod 600",
    );
  }),
);

ssh("a damaged private key is key.invalid, wherever it was cut or changed", () => {
  const text = privateText(newKeyPair(), "ops", Uint8Array.of(9, 9, 9, 9));
  const lines = text.split("\n");
  const bytes = Buffer.from(lines.slice(1, -2).join(""), "base64");
  const file = (some: Uint8Array): string =>
    [lines[0], Buffer.from(some).toString("base64"), lines.at(-2), ""].join("\n");
  assert.ok(parsePrivate(file(bytes), "id").pair);
  for (let length = 0; length < bytes.length - 8; length++) {
    throwsCode(() => parsePrivate(file(bytes.subarray(0, length)), "id"), "key.invalid");
  }
  for (let at = 0; at < 110; at++) {
    const changed = Uint8Array.from(bytes);
    changed[at] = (changed[at] ?? 0) ^ 0xff;
    try {
      parsePrivate(file(changed), "id");
    } catch (error) {
      assert.is((error as { code?: string }).code, "key.invalid", `byte ${at}`);
    }
  }
  throwsCode(() => parsePrivate("ssh-rsa AAAA", "id"), "key.invalid");
});

withOpenSsh("ssh-agent signs with its key, also one whose file is encrypted", () =>
  inFolder(async (folder) => {
    const socket = join(folder, "agent");
    const agent = spawn("ssh-agent", ["-D", "-a", socket], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    try {
      await new Promise((resolve) => agent.stdout.once("data", resolve));
      const path = join(folder, "id");
      keygen("-q", "-t", "ed25519", "-N", "", "-C", "ops", "-f", path);
      const env = { ...process.env, SSH_AUTH_SOCK: socket };
      execFileSync("ssh-add", ["-q", path], { env, stdio: "pipe" });
      keygen("-q", "-p", "-P", "", "-N", "secret", "-f", path);
      const [held] = await agentKeys(socket);
      assert.is(held?.comment, "ops");
      const [key] = parseKeys(readFileSync(`${path}.pub`, "utf8")).keys;
      const verify = verifier(key?.publicKey ?? new Uint8Array(0));
      for (const named of [path, `${path}.pub`, undefined]) {
        const [signer] = await findSigners(named, { SSH_AUTH_SOCK: socket });
        assert.ok(signer?.isSlow);
        assert.ok(verify(data, (await signer?.sign(data)) ?? new Uint8Array(0)), String(named));
      }
      const stranger = publicBlob(newKeyPair().publicKey);
      const refused = await rejectsCode(() => agentSign(socket, stranger, data), "key.agent");
      assert.match(refused.message, "it refused");
    } finally {
      agent.kill();
    }
  }),
);

/** An agent that answers each request with these bytes and then, perhaps, closes. */
async function scripted(
  answer: Uint8Array,
  closes: boolean,
  body: (socket: string) => Promise<void>,
): Promise<void> {
  await inFolder(async (folder) => {
    const socket = join(folder, "agent");
    const server: Server = createServer((connection) => {
      connection.on("error", () => {});
      connection.once("data", () => {
        if (closes) connection.end(answer);
        else connection.write(answer);
      });
    });
    await new Promise<void>((resolve) => server.listen(socket, resolve));
    try {
      await body(socket);
    } finally {
      server.close();
    }
  });
}

const framed = (...parts: Uint8Array[]): Uint8Array => sshString(joined(...parts));
const nonsense: [string, Uint8Array][] = [
  ["nothing", new Uint8Array(0)],
  ["half a length", Uint8Array.of(0, 0)],
  ["an empty answer", sshUint32(0)],
  ["an endless answer", sshUint32(0xffffffff)],
  ["half an answer", joined(sshUint32(100), Uint8Array.of(12))],
  ["a failure", framed(Uint8Array.of(5))],
  ["more keys than there are", framed(Uint8Array.of(12), sshUint32(1000))],
  ["a key longer than the answer", framed(Uint8Array.of(12), sshUint32(1), sshUint32(1 << 30))],
];

for (const [name, answer] of nonsense) {
  ssh(`an agent that answers ${name} is key.agent`, () =>
    scripted(answer, true, async (socket) => {
      const failure = await rejectsCode(() => agentKeys(socket), "key.agent");
      assert.match(failure.message, socket);
      await rejectsCode(() => agentSign(socket, new Uint8Array(51), data), "key.agent");
    }),
  );
}

ssh("an agent that is not there is key.agent, unless there is a file as well", () =>
  inFolder(async (folder) => {
    const gone = join(folder, "agent");
    await rejectsCode(() => findSigners(undefined, { SSH_AUTH_SOCK: gone }), "key.agent");
    assert.equal(await findSigners(undefined, {}), []);
    const file = join(folder, "id");
    const pair = newKeyPair();
    writeFileSync(file, privateText(pair, "", Uint8Array.of(0, 0, 0, 0)), { mode: 0o600 });
    const [signer] = await findSigners(file, { SSH_AUTH_SOCK: gone });
    assert.equal(await signer?.sign(data), signEd25519(pair, data));
  }),
);

ssh.run();
