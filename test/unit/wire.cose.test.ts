/** wire/cose.ts: bytes that another implementation made, and what is not of that form. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { sha256 } from "../../agent/io/digest.ts";
import { signEd25519, verifier } from "../../agent/io/ed25519.ts";
import { parseKeys } from "../../agent/machines/authorizedkeys.ts";
import { Random } from "../../agent/sim/random.ts";
import {
  decodeSigned,
  encodeHeader,
  encodeSigned,
  envelopeTextMax,
  toBeSigned,
} from "../../agent/wire/cose.ts";
import { parsePacket } from "../../agent/wire/smp.ts";
import { throwsCode } from "../assert.ts";
import { fromHex, join, toHex } from "../hex.ts";
import vectors from "../vectors/signed.json" with { type: "json" };

const cose = suite("cose");

for (const vector of vectors) {
  const { seed, publicKey, payload, signature } = vector;
  const kid = fromHex(vector.envelope.kid);
  const envelope = { ...vector.envelope, kid, nonce: fromHex(vector.envelope.nonce) };

  cose(`written as another implementation writes it: ${vector.name}`, () => {
    const header = encodeHeader(envelope);
    assert.is(toHex(header), vector.header);
    const data = toBeSigned(header, fromHex(payload));
    assert.is(toHex(data), vector.toBeSigned);
    const pair = { seed: fromHex(seed), publicKey: fromHex(publicKey) };
    assert.is(toHex(signEd25519(pair, data)), signature);
    const bytes = encodeSigned(header, fromHex(payload), fromHex(signature));
    assert.is(toHex(bytes), vector.cose);
  });

  cose(`read, verified and found by its key: ${vector.name}`, () => {
    const signed = decodeSigned(fromHex(vector.cose));
    assert.equal(signed.envelope, envelope);
    assert.is(toHex(signed.payload), payload);
    const [key] = parseKeys(vector.line).keys;
    assert.is(toHex(sha256(key?.blob ?? new Uint8Array(0))), vector.envelope.kid);
    const verify = verifier(key?.publicKey ?? new Uint8Array(0));
    assert.ok(verify(toBeSigned(signed.header, signed.payload), signed.signature));
    const [inner] = parsePacket(signed.payload);
    assert.is(inner?.kind, "request");
  });

  cose(`no other form is taken: ${vector.name}`, () => {
    const bytes = fromHex(vector.cose);
    for (let length = 0; length < bytes.length; length++) {
      throwsCode(() => decodeSigned(bytes.subarray(0, length)), "access.malformed");
    }
    throwsCode(() => decodeSigned(join(bytes, Uint8Array.of(0))), "access.malformed");
    // The tag that COSE allows: one form is enough.
    throwsCode(() => decodeSigned(join(Uint8Array.of(0xd2), bytes)), "access.malformed");
  });
}

cose(
  "a length that is longer than it need be is refused, and so is a text that is too long",
  () => {
    const { header, payload, signature } = decodeSigned(fromHex(vectors[0]?.cose ?? ""));
    const long = join(Uint8Array.of(0x84, 0x59, 0, header.length), header, Uint8Array.of(0xa0));
    throwsCode(() => decodeSigned(join(long, payload, signature)), "access.malformed");
    const envelope = decodeSigned(fromHex(vectors[0]?.cose ?? "")).envelope;
    const seats = ["x".repeat(envelopeTextMax), "x".repeat(envelopeTextMax + 1)];
    const read = seats.map((seat) => () => {
      return decodeSigned(encodeSigned(encodeHeader({ ...envelope, seat }), payload, signature));
    });
    assert.ok(read[0]?.());
    throwsCode(() => read[1]?.(), "access.malformed");
  },
);

cose("100 000 damaged commands: a value or access.malformed, nothing else", () => {
  const random = new Random(7);
  const originals = vectors.map((vector) => fromHex(vector.cose));
  let taken = 0;
  for (let round = 0; round < 100_000; round++) {
    const bytes = random.pick(originals).slice(0, random.int(400) + 1);
    for (let flips = random.int(4); flips >= 0; flips--) {
      bytes[random.int(Math.min(bytes.length, 240))] = random.int(256);
    }
    try {
      decodeSigned(bytes);
      taken += 1;
    } catch (error) {
      assert.is((error as { code?: string }).code, "access.malformed");
    }
  }
  assert.ok(taken > 1000, "most of it is bytes of payload and signature");
});

cose.run();
