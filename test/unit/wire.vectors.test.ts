// Bytes that were written down without our encoder, read and, where the form is ours, written.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { decodeMap, encodeMap } from "../../agent/wire/cbor.ts";
import { type CommandName, commands, reportPush } from "../../agent/wire/commands.ts";
import { type Decoded, Deframer, enframe } from "../../agent/wire/frame.ts";
import { seal, unseal } from "../../agent/wire/seal.ts";
import { check, type Shape } from "../../agent/wire/shape.ts";
import { encodeMessage, type Header, type Message, parsePacket } from "../../agent/wire/smp.ts";
import { throwsCode } from "../assert.ts";
import { fromHex, join, toHex } from "../hex.ts";
import { pythonLack, runPython } from "../python.ts";
import { skip } from "../skip.ts";
import cborVectors from "../vectors/cbor.json" with { type: "json" };
import frameVectors from "../vectors/frames.json" with { type: "json" };
import messageVectors from "../vectors/messages.json" with { type: "json" };
import reportVectors from "../vectors/reports.json" with { type: "json" };
import standardVectors from "../vectors/standard.json" with { type: "json" };
import storedVectors from "../vectors/stored.json" with { type: "json" };

interface MessageVector {
  readonly name: string;
  readonly packet: string;
  readonly wire: string;
  /** The form is the one Kennel writes. */
  readonly ours: boolean;
  readonly messages: readonly Message[];
}

interface CborVector {
  readonly name: string;
  readonly hex: string;
  readonly value?: Record<string, unknown>;
  readonly ours?: boolean;
  /** Words of the refusal. */
  readonly refused?: string;
}

const messages = [
  ...(messageVectors as unknown as readonly MessageVector[]),
  ...(revived(reportVectors) as readonly MessageVector[]),
  ...(revived(standardVectors) as readonly MessageVector[]),
];
const cbor = cborVectors as unknown as readonly CborVector[];
const vectors = suite("vectors");

for (const { name, packet, wire, ours, messages: expected } of messages) {
  vectors(`message: ${name}`, () => {
    const decoded = new Deframer().push(fromHex(wire));
    assert.equal(decoded.map(plain), [{ kind: "message", hex: packet }]);
    const found = parsePacket(fromHex(packet)).map((item) => {
      assert.is(item.kind, "request");
      return item.kind === "request" ? { ...item.header, body: item.body } : null;
    });
    assert.equal(found, expected);
    assert.is(toHex(enframe(fromHex(packet))), wire);
    const [only] = expected;
    if (ours && only !== undefined) assert.is(toHex(encodeMessage(only)), packet);
  });

  vectors(`contract: ${name}`, () => {
    for (const message of expected) {
      const shape = shapeOf(message);
      if (shape !== undefined) assert.equal(check(shape, message.body, name), message.body);
    }
  });
}

for (const { name, wire, decoded } of frameVectors) {
  vectors(`frame: ${name}`, () => {
    assert.equal(new Deframer().push(fromHex(wire)).map(plain), decoded);
    const deframer = new Deframer();
    const bytewise = [...fromHex(wire)].flatMap((byte) => deframer.push(Uint8Array.of(byte)));
    assert.equal(bytewise.map(plain), decoded);
  });
}

for (const { name, hex, value, ours, refused } of cbor) {
  vectors(`CBOR: ${name}`, () => {
    if (refused !== undefined) {
      const { message } = throwsCode(() => decodeMap(fromHex(hex)), "wire.malformed");
      assert.ok(message.includes(refused), message);
      return;
    }
    assert.equal(decodeMap(fromHex(hex)), value);
    if (ours) assert.is(toHex(encodeMap(value ?? {})), hex);
    else assert.equal(decodeMap(encodeMap(value ?? {})), value);
  });
}

for (const { name, magic, sequence, data, sealed } of storedVectors) {
  vectors(`stored: ${name}`, () => {
    assert.is(toHex(seal(magic, fromHex(data), sequence)), sealed);
    const opened = unseal(magic, fromHex(sealed));
    assert.ok(opened !== null && "data" in opened);
    assert.is(toHex(opened.data), data);
    assert.is(opened.sequence, sequence);
    assert.is(unseal("KNLX", fromHex(sealed)), null);
    assert.equal(unseal(magic, join(fromHex(sealed), Uint8Array.of(0))), { sequence });
  });
}

vectors("every command of the standard groups that is answered has its vectors", () => {
  const covered = new Set(messages.flatMap((vector) => vector.messages.map(keyOf)));
  for (const { group, id, op } of Object.values(commands).filter(({ group }) => group < 64)) {
    const isRead = op !== "write";
    assert.ok(covered.has(`${group}/${id} ${isRead ? "read" : "write"}`), `${group}/${id}`);
    assert.ok(
      covered.has(`${group}/${id} ${isRead ? "read" : "write"}_response`),
      `${group}/${id}`,
    );
  }
});

const lack = pythonLack();
for (const script of ["vectors.py", "reportvectors.py"]) {
  const title = `what ${script} writes is what stands in the vectors`;
  if (lack !== null) skip(title, lack);
  else {
    vectors(title, () => {
      const { status, said } = runPython(script, "--check");
      assert.is(status, 0, said);
    });
  }
}

/** JSON has no bytes: they stand as `{"$bytes": hex}`. */
function revived(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(revived);
  if (typeof value !== "object" || value === null) return value;
  if ("$bytes" in value) return fromHex(String(value.$bytes));
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, revived(item)]));
}

function keyOf({ group, command, op }: Header): string {
  return `${group}/${command} ${op}`;
}

/** What the contract says of a message's body; nothing of errors and of unknown commands. */
function shapeOf({ group, command, op, body }: Message): Shape<unknown> | undefined {
  // That words are asked for is no part of any command.
  if ("rc" in body || "err" in body || "rsn" in body) return undefined;
  if (group === reportPush.group && command === reportPush.id) return reportPush.body;
  const names = Object.keys(commands) as CommandName[];
  const asked = op.replace("_response", "");
  const name = names.find((key) => {
    const one = commands[key];
    const isOp = one.op === "either" || one.op === asked;
    return one.group === group && one.id === command && isOp;
  });
  if (name === undefined || Object.keys(body).some((key) => key.length === 1 && group > 0)) {
    return undefined;
  }
  return op.endsWith("response") ? commands[name].response : commands[name].request;
}

function plain(decoded: Decoded): object {
  if (decoded.kind === "bad") return decoded;
  return { kind: decoded.kind, hex: toHex(decoded.bytes) };
}

vectors.run();
