import crypto from "node:crypto";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { makeFip } from "../../agent/rig/fip.ts";
import { signApplication } from "../../agent/rig/trustedapp.ts";

const secureSuite = suite("rig's secure world");

secureSuite("a firmware package is a table and the images behind it", () => {
  const fip = makeFip({ bl2: Buffer.from("second"), bl31: Buffer.from("third") });
  // Two entries and the end of the table, 40 bytes each, behind a header of 16.
  const [first, second, end] = [16, 56, 96];
  assert.is(fip.readUInt32LE(0), 0xaa640001);
  assert.is(fip.toString("hex", first, first + 16), "5ff9ec0b4d223e4da544c39d81c73f0a");
  const placed = (at: number): string => {
    const [offset, size] = [
      Number(fip.readBigUInt64LE(at + 16)),
      Number(fip.readBigUInt64LE(at + 24)),
    ];
    return fip.toString("latin1", offset, offset + size);
  };
  assert.is(placed(first), "second");
  assert.is(placed(second), "third");
  assert.is(fip.toString("hex", end, end + 16), "00".repeat(16));
  assert.is(Number(fip.readBigUInt64LE(end + 16)), fip.length);
});

secureSuite("an application's signature covers header, UUID, version and image", () => {
  const { privateKey, publicKey } = crypto.generateKeyPairSync("rsa", { modulusLength: 2048 });
  const key = String(privateKey.export({ type: "pkcs8", format: "pem" }));
  const image = Buffer.from("\x7fELF and more");
  const file = signApplication(image, "6b656e6e-656c-4000-8000-000000000001", key);
  assert.is(file.toString("latin1", 0, 4), "HSTO");
  assert.is(file.readUInt32LE(8), image.length);
  const [header, digest, rest] = [file.subarray(0, 20), file.subarray(20, 52), file.subarray(308)];
  const covered = Buffer.concat([header, rest]);
  assert.is(crypto.createHash("sha256").update(covered).digest("hex"), digest.toString("hex"));
  assert.is(rest.toString("hex", 0, 20), "6b656e6e656c4000800000000000000100000000");
  const padding = crypto.constants.RSA_PKCS1_PSS_PADDING;
  const signature = file.subarray(52, 308);
  assert.ok(
    crypto.verify("sha256", covered, { key: publicKey, padding, saltLength: 32 }, signature),
  );
});

secureSuite.run();
