// SMP packets: what is answered to what cannot be understood, and refusals in both versions.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Failure, rcs } from "../../agent/errors.ts";
import { encodeMap } from "../../agent/wire/cbor.ts";
import { packetBytesMax } from "../../agent/wire/command.ts";
import { GroupFailure, groupErrorMeaning, groupErrors } from "../../agent/wire/grouperrors.ts";
import {
  encodeMessage,
  errorBody,
  type Header,
  headerBytes,
  type Op,
  parsePacket,
  reasonMax,
  responseHeader,
} from "../../agent/wire/smp.ts";
import { throwsCode } from "../assert.ts";
import { fromHex, join, toHex } from "../hex.ts";

const smp = suite("smp");
const echo: Header = { version: 1, op: "write", group: 0, seq: 9, command: 0 };
const request = encodeMessage({ ...echo, body: { d: "hi" } });

smp("the header keeps every value its fields can hold", () => {
  const ops: readonly Op[] = ["read", "read_response", "write", "write_response"];
  for (const version of [0, 1]) {
    for (const op of ops) {
      for (const [group, seq, command] of [
        [0, 0, 0],
        [64, 255, 255],
        [65_535, 128, 1],
      ] as const) {
        const header = { version, op, group, seq, command };
        const [found] = parsePacket(encodeMessage({ ...header, body: {} }));
        assert.equal(found, { kind: "request", header, body: {} });
      }
    }
  }
});

smp("a version above v2 is refused with its header, so that it can be answered", () => {
  for (const version of [2, 3]) {
    const packet = request.slice();
    packet[0] = (version << 3) | 2;
    const [found] = parsePacket(packet);
    assert.is(found?.kind, "bad");
    if (found?.kind !== "bad" || found.header === undefined) throw new Error("no header");
    assert.is(found.rc, rcs.too_new);
    assert.is(found.reason, `SMP version ${version + 1}`);
    assert.equal(responseHeader(found.header), { ...echo, op: "write_response", version: 1 });
  }
});

smp("reserved bits and operations are refused without an answer", () => {
  for (const first of [0x20, 0x40, 0x80, 0x0c, 0x0d, 0x0e, 0x0f]) {
    const packet = request.slice();
    packet[0] = first;
    const [found, ...more] = parsePacket(packet);
    assert.is(found?.kind, "bad");
    assert.not("header" in (found ?? {}));
    assert.is(more.length, 0);
  }
});

smp("a packet that ends within a header or a body is refused, and what came before is not", () => {
  for (let length = 1; length < request.length; length += 1) {
    const [whole, cut, ...more] = parsePacket(join(request, request.slice(0, length)));
    assert.is(whole?.kind, "request");
    assert.is(cut?.kind, "bad");
    assert.is(cut?.kind === "bad" && cut.header !== undefined, length >= headerBytes);
    assert.is(more.length, 0);
  }
  assert.equal(parsePacket(new Uint8Array(0)), []);
});

smp("a body that is no CBOR map is refused with its header, and the next message is read", () => {
  const packet = join(request, fromHex("0a000001000009ff01"), request);
  const [one, two, three] = parsePacket(packet);
  assert.is(one?.kind, "request");
  assert.is(two?.kind === "bad" && two.rc, rcs.invalid);
  assert.is(two?.kind === "bad" && two.header?.seq, 9);
  assert.is(three?.kind, "request");
});

smp("a bad response has no header to answer to: two ends never answer each other's answers", () => {
  for (const first of ["01", "03", "09", "0b", "11", "13"]) {
    const [found] = parsePacket(fromHex(`${first}00000100000000ff`));
    assert.is(found?.kind, "bad", first);
    assert.not("header" in (found ?? {}), first);
  }
});

smp("a body that no header can announce is refused, the largest one is not", () => {
  const body = (length: number) => ({ d: "x".repeat(length - 6) });
  const largest = encodeMessage({ ...echo, body: body(0xffff) });
  assert.is(largest.length, headerBytes + 0xffff);
  throwsCode(() => encodeMessage({ ...echo, body: body(0x10000) }), "wire.too_large");
});

smp("the packet may lie anywhere in a larger buffer", () => {
  const around = join(fromHex("ffffff"), request, fromHex("ffff"));
  const inside = around.subarray(3, 3 + request.length);
  assert.equal(parsePacket(inside), parsePacket(request));
});

smp("answers echo version, sequence, group and command, and answer a read with a read", () => {
  for (const version of [0, 1]) {
    for (const [op, answer] of [
      ["read", "read_response"],
      ["write", "write_response"],
    ] as const) {
      const header: Header = { version, op, group: 66, seq: 200, command: 4 };
      assert.equal(responseHeader(header), { ...header, op: answer });
    }
  }
});

const refused = new Failure("watchdog.range", "too long");
const malformed = new Failure("wire.malformed", "no map");
const ofGroup = new GroupFailure("os.no_answer", "no such query");

/** What a request with this header and body is refused with. */
function refusal(header: Header, error: Failure, body: Record<string, unknown> = {}) {
  return errorBody({ header, body }, error);
}

smp("v1 gets every refusal as rc with its words", () => {
  for (const group of [0, 10, 64, 66]) {
    const header: Header = { ...echo, version: 0, group };
    assert.equal(refusal(header, refused), { rc: rcs.invalid, rsn: "too long" });
    assert.equal(refusal(header, malformed), { rc: rcs.invalid, rsn: "no map" });
  }
  const v1: Header = { ...echo, version: 0 };
  assert.equal(refusal(v1, ofGroup), { rc: rcs.no_entry, rsn: "no such query" });
});

smp("v2 gets errors of the protocol as rc and those of our groups as err alone", () => {
  const ours: Header = { ...echo, group: 66 };
  assert.equal(refusal(ours, malformed), { rc: rcs.invalid, rsn: "no map" });
  assert.equal(refusal(ours, refused), { err: { group: 66, rc: rcs.invalid } });
  assert.equal(refusal(echo, refused), { rc: rcs.invalid, rsn: "too long" });
});

smp("who may not have it is told so by rc in every group and version, with words", () => {
  const denied = new Failure("access.unsigned", "unsigned");
  for (const group of [0, 3, 66]) {
    for (const version of [0, 1]) {
      assert.equal(refusal({ ...echo, group, version }, denied), {
        rc: rcs.denied,
        rsn: "unsigned",
      });
    }
  }
});

smp("words beside err come to the request that asks for them, and in our groups only", () => {
  const ours: Header = { ...echo, group: 66 };
  const words = { err: { group: 66, rc: rcs.invalid }, rsn: "too long" };
  assert.equal(refusal(ours, refused, { rsn: true }), words);
  for (const rsn of [false, 1, "true", null]) {
    assert.equal(refusal(ours, refused, { rsn }), { err: { group: 66, rc: rcs.invalid } });
  }
  assert.equal(refusal(echo, ofGroup, { rsn: true }), { err: { group: 0, rc: 3 } });
});

smp("v2 gets the code of a standard group as err alone, as strict clients demand", () => {
  assert.equal(refusal(echo, ofGroup), { err: { group: 0, rc: 3 } });
  assert.is(toHex(encodeMap(refusal(echo, ofGroup))), "a163657272a26567726f75700062726303");
});

smp("the codes of the standard groups have their own numbers and words for people", () => {
  const all = Object.values(groupErrors);
  assert.is(new Set(all.map(({ group, rc }) => `${group}/${rc}`)).size, all.length);
  for (const { group, rc, meaning } of all) assert.is(groupErrorMeaning(group, rc), meaning);
  assert.is(groupErrorMeaning(66, 3), null);
});

smp("the words of a refusal fit a packet, and are text even where a character is cut", () => {
  const long = new Failure("watchdog.state", `x${"\u{1f415}".repeat(1000)}`);
  const body = refusal({ ...echo, version: 0 }, long);
  assert.is((body.rsn as string).length, reasonMax);
  const answer = encodeMessage({ ...echo, body });
  assert.ok(answer.length <= packetBytesMax);
  const [found] = parsePacket(answer);
  assert.ok(found?.kind === "request" && String(found.body.rsn).endsWith("\u{1f415}\ufffd"));
});

smp.run();
