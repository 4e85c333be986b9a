import { suite } from "uvu";
import * as assert from "uvu/assert";
import { runChild, twinObstacle, unless } from "../children.ts";
import { makeFakeTee, type Script } from "../faketee.ts";

const teeSuite = suite("native tee");
const onFake = unless(twinObstacle(), teeSuite);

interface Answer {
  // biome-ignore lint/suspicious/noExplicitAny: what a call returned is what is being tested.
  value?: any;
  error?: { name: string; code: string; syscall?: string; message: string };
}

/** Makes the calls in a child on a scripted device; answers[0] is that of opening it. */
async function calls(list: unknown[][], world: Script = {}) {
  const fake = makeFakeTee(world);
  const child = await runChild("callstee", [fake.device, JSON.stringify(list)], { env: fake.env });
  assert.is(child.stderr, "");
  assert.is(child.code, 0);
  return { answers: JSON.parse(child.stdout) as Answer[], log: fake.log() };
}

const uuid = "8aaaf20000112233445566778899aabb";
const client = "00".repeat(16);
const open = ["openSession", { hex: uuid }, 0, { hex: client }, 7, { params: [] }];
const none = { params: [] };
/** 64-bit little-endian, as both architectures have it. */
const u64 = (value: number): string => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes.toString("hex");
};
const u32 = (value: number): string => u64(value).slice(0, 8);
const request = (number: string, input: string, output: string): string =>
  `ioctl request=${number} in=${input} out=${output} -> 0`;

onFake("every request has the number and the bytes the kernel expects", async () => {
  const { answers, log } = await calls([
    ["version"],
    ["allocate", 16],
    ["openSession", { hex: uuid }, 4, { hex: "11".repeat(16) }, 7, { params: [1, 2, 3, 4] }],
    ["write", 1, 0, { hex: "cafe" }],
    [
      "invoke",
      1,
      0xdeadbeef,
      8,
      { params: [5, 0, 2, 1, 6, 8, 8, 1, 3, 9, "0xffffffffffffffff", 0, 0, 0, 0, 0] },
    ],
    ["read", 1, 0, 16],
    ["cancel", 8, 1],
    ["closeSession", 1],
    ["free", 1],
    ["close"],
  ]);
  // Written out from include/uapi/linux/tee.h, field by field.
  const params = (size: number, a: number): string =>
    `${u64(5)}${u64(0)}${u64(2)}${u64(1)}${u64(6)}${u64(8)}${u64(size)}${u64(1)}` +
    `${u64(3)}${u64(a)}${"ff".repeat(8)}${u64(0)}${"00".repeat(32)}`;
  const opened = (session: number, origin: number): string =>
    `${uuid}${"11".repeat(16)}${u32(4)}${u32(7)}${u32(session)}${u32(0)}${u32(origin)}${u32(1)}` +
    `${u64(1)}${u64(2)}${u64(3)}${u64(4)}`;
  const invoked = (origin: number): string =>
    `${u32(0xdeadbeef)}${u32(1)}${u32(8)}${u32(0)}${u32(origin)}${u32(4)}`;
  assert.equal(log, [
    // O_RDWR | O_CLOEXEC.
    "open flags=0x80002 -> 0",
    request("0x800ca400", "00".repeat(12), `${u32(1)}${u32(1)}${u32(0xd)}`),
    request("0xc010a401", `${u64(16)}${u32(0)}${u32(0)}`, `${u64(4096)}${u32(1)}${u32(1)}`),
    request("0x8010a402", opened(0, 0), opened(1, 4)),
    request("0x8010a403", invoked(0) + params(8, 9), invoked(4) + params(2, 1)),
    request("0x8008a404", u32(8) + u32(1), u32(8) + u32(1)),
    request("0x8004a405", u32(1), u32(1)),
    "release shm=1",
    "close",
  ]);
  assert.equal(answers[1]?.value, { implementation: 1, implementationCaps: 1, genericCaps: 13 });
  assert.equal(answers[3]?.value, {
    errno: null,
    session: 1,
    params: ["1", "2", "3", "4"],
    ret: 0,
    origin: 4,
  });
  assert.is(answers[6]?.value, `cafe${"00".repeat(6)}cafe${"00".repeat(6)}`);
  assert.equal(answers[7]?.value, { errno: null, ret: 0, origin: 0 });
});

onFake("what the TEE says and what the ioctl says are kept apart", async () => {
  const dead = await calls([open, ["invoke", 1, 1, 1, none]], {
    invokeret: 0xffff3024,
    invokeorigin: 3,
  });
  const { errno, ret, origin } = dead.answers[2]?.value ?? {};
  assert.equal([errno, ret, origin], [null, 0xffff3024, 3]);
  const gone = await calls([open, ["invoke", 1, 1, 1, none]], { invoke: 19 });
  assert.equal(gone.answers[2]?.value, { errno: "ENODEV", params: [], ret: 0, origin: 0 });
  const unknown = await calls([
    ["invoke", 9, 1, 1, none],
    ["closeSession", 9],
  ]);
  assert.is(unknown.answers[1]?.value.errno, "EINVAL");
  assert.is(unknown.answers[2]?.value.errno, "EINVAL");
});

onFake("a call that was interrupted is not made again", async () => {
  const { answers, log } = await calls([open, ["invoke", 1, 1, 1, none]], { invoke: 4 });
  assert.is(answers[2]?.value.errno, "EINTR");
  assert.is(log.filter((line) => line.includes("0x8010a403")).length, 1);
});

onFake("a device that is not there, or refuses, is an error shaped like Node's", async () => {
  const { answers } = await calls([], { device: 2 });
  assert.is(answers[0]?.error?.code, "ENOENT");
  assert.is(answers[0]?.error?.syscall, "open");
  const refused = await calls([["version"], ["allocate", 8]], { version: 19, shm: 12 });
  assert.is(refused.answers[1]?.error?.syscall, "TEE_IOC_VERSION");
  assert.is(refused.answers[2]?.error?.code, "ENOMEM");
  const closed = await calls([["close"], ["version"], ["cancel", 1, 1], open]);
  assert.equal(
    closed.answers.slice(2).map(({ error }) => error?.code),
    ["EBADF", "EBADF", "EBADF"],
  );
});

onFake("nothing that is out of bounds reaches the driver", async () => {
  const wrong: unknown[][] = [
    ["allocate", 0],
    ["allocate", 4_294_967_296],
    ["write", 1, 9, { hex: "00".repeat(8) }],
    ["write", 1, 4_294_967_295, { hex: "00" }],
    ["write", 2, 0, { hex: "00" }],
    ["read", 1, 0, 17],
    ["read", 1, 17, 0],
    ["free", 3],
    ["openSession", { hex: "00" }, 0, { hex: client }, 1, none],
    ["openSession", { hex: uuid }, -1, { hex: client }, 1, none],
    ["openSession", { hex: uuid }, 0, { hex: client }, 1, { params: [1, 2, 3] }],
    ["invoke", 1, 1.5, 1, none],
    ["invoke", 1, 1, 1, { params: Array(128).fill(0) }],
    ["invoke", 1, 1, 1, { params: [5, 0, 17, 1] }],
    ["invoke", 1, 1, 1, { params: [5, 17, 0, 1] }],
    ["invoke", 1, 1, 1, { params: [7, "0xffffffffffffffff", 2, 1] }],
    ["invoke", 1, 1, 1, { params: [6, 0, 1, 2] }],
    ["invoke", 1, 1, 1, { params: [6, 0, 1, "0x100000001"] }],
    ["closeSession", 4_294_967_296],
  ];
  const { answers, log } = await calls([["allocate", 16], ...wrong]);
  assert.equal(
    answers.slice(2).map(({ error }) => error?.code),
    wrong.map(() => "ERR_OUT_OF_RANGE"),
  );
  const asked = log.filter((line) => line.startsWith("ioctl"));
  assert.is(asked.length, 1, "only the first allocation");
  const most = await calls([open, ["invoke", 1, 1, 1, { params: Array(124).fill(0) }]]);
  assert.is(most.answers[2]?.value.errno, null, "31 parameters fit into 1024 bytes");
});

teeSuite.run();
