/**
 * Signs a trusted application as OP-TEE wants those that the normal world stores for it: header,
 * digest, signature, UUID, version, image. Source: scripts/sign_encrypt.py of its kit.
 */
import crypto from "node:crypto";

const magic = 0x4f54_5348;
/** An application that is signed and not encrypted. */
const bootstrap = 1;
/** TEE_ALG_RSASSA_PKCS1_PSS_MGF1_SHA256. */
const algorithm = 0x7041_4930;
const headerBytes = 20;
const digestBytes = 32;

/** The signed file. `uuid` as 8-4-4-4-12 hex digits, `key` as PEM. */
export function signApplication(image: Uint8Array, uuid: string, key: string): Buffer {
  const own = crypto.createPrivateKey(key);
  const bits = own.asymmetricKeyDetails?.modulusLength ?? 0;
  const header = Buffer.alloc(headerBytes);
  header.writeUInt32LE(magic, 0);
  header.writeUInt32LE(bootstrap, 4);
  header.writeUInt32LE(image.length, 8);
  header.writeUInt32LE(algorithm, 12);
  header.writeUInt16LE(digestBytes, 16);
  header.writeUInt16LE(Math.ceil(bits / 8), 18);
  const name = Buffer.from(uuid.replaceAll("-", ""), "hex");
  const version = Buffer.alloc(4);
  const signed = Buffer.concat([header, name, version, image]);
  const digest = crypto.createHash("sha256").update(signed).digest();
  const signature = crypto.sign("sha256", signed, {
    key: own,
    padding: crypto.constants.RSA_PKCS1_PSS_PADDING,
    saltLength: crypto.constants.RSA_PSS_SALTLEN_DIGEST,
  });
  return Buffer.concat([header, digest, signature, name, version, image]);
}
