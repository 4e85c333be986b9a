import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Failure } from "../../agent/errors.ts";
import {
  messageBytesMax,
  PipeReader,
  type PipeRequest,
  replyOf,
  requestOf,
  toPipe,
} from "../../agent/wire/teepipe.ts";
import { toHex } from "../hex.ts";

const pipe = suite("tee pipe");

const invoke: PipeRequest = {
  id: 70_000,
  op: "invoke",
  context: 3,
  session: 0xffff_ffff,
  command: 7,
  cancel: 9,
  params: [{ attr: 5, bytes: Uint8Array.of(1, 2, 3) }, { attr: 6, size: 4096 }, { attr: 2 }],
};

pipe("a message is four bytes of length and a map", () => {
  assert.is(
    toHex(toPipe({ id: 1, op: "version" })),
    `${"00000010"}a2${"626964"}01${"626f70"}67${"76657273696f6e"}`,
  );
  const [body] = new PipeReader().push(toPipe(invoke));
  assert.equal(requestOf(body ?? new Uint8Array()), invoke);
});

pipe("any cutting of the same bytes gives the same messages", () => {
  const replies = [
    { id: 1, ret: 0xffff3024, origin: 3 },
    { id: 2, errno: "ENODEV", ret: 0, origin: 0 },
  ];
  const line = Uint8Array.from(replies.flatMap((reply) => [...toPipe(reply)]));
  for (let size = 1; size <= line.length; size++) {
    const reader = new PipeReader();
    const found: unknown[] = [];
    for (let at = 0; at < line.length; at += size) {
      for (const body of reader.push(line.slice(at, at + size))) found.push(replyOf(body));
    }
    assert.equal(found, replies, `pieces of ${size}`);
  }
});

pipe("what no message can be is refused", () => {
  const refuses = (act: () => unknown): void => {
    assert.throws(act, (error: unknown) => {
      return error instanceof Failure && error.code === "wire.malformed";
    });
  };
  refuses(() => new PipeReader().push(Uint8Array.of(0xff, 0, 0, 0)));
  refuses(() => requestOf(Uint8Array.of(0xa0)));
  refuses(() => replyOf(Uint8Array.of(1)));
  refuses(() =>
    toPipe({ ...invoke, params: [{ attr: 5, bytes: new Uint8Array(messageBytesMax) }] }),
  );
});

pipe.run();
