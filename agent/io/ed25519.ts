/** Ed25519 (RFC 8032) by node:crypto. */
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  verify,
} from "node:crypto";

/** Both halves of a key: 32 bytes each. */
export interface KeyPair {
  readonly seed: Uint8Array;
  readonly publicKey: Uint8Array;
}

export function newKeyPair(): KeyPair {
  const { privateKey } = generateKeyPairSync("ed25519");
  const { d = "", x = "" } = privateKey.export({ format: "jwk" });
  const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "base64url"));
  return { seed: bytes(d), publicKey: bytes(x) };
}

export function signEd25519({ seed, publicKey }: KeyPair, message: Uint8Array): Uint8Array {
  const key = createPrivateKey({ key: { ...jwk(publicKey), d: base64url(seed) }, format: "jwk" });
  return new Uint8Array(sign(null, message, key));
}

/** Checks signatures by one public key: the costly part of taking it in is done once. */
export function verifier(
  publicKey: Uint8Array,
): (message: Uint8Array, signature: Uint8Array) => boolean {
  let key: KeyObject | null = null;
  return (message, signature) => {
    key ??= createPublicKey({ key: jwk(publicKey), format: "jwk" });
    return verify(null, message, key, signature);
  };
}

function jwk(publicKey: Uint8Array): { kty: string; crv: string; x: string } {
  return { kty: "OKP", crv: "Ed25519", x: base64url(publicKey) };
}

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64url");
}
