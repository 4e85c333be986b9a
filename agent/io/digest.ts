/** SHA-256 by the platform. */

/** SHA-256 (FIPS 180-4) of all of `bytes`: 32 bytes. */
export type Sha256 = (bytes: Uint8Array) => Uint8Array;

/** The real thing; loaded with its first use, since few starts need it and all would pay for it. */
export const sha256: Sha256 = (bytes) => {
  const { createHash } = require("node:crypto") as typeof import("node:crypto");
  return new Uint8Array(createHash("sha256").update(bytes).digest());
};
