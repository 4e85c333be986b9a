/**
 * Firmware image package of TF-A: a table of contents and the images behind it. Its first stage
 * reads it from flash. Source: include/tools_share/firmware_image_package.h.
 */

/** The images of a boot with OP-TEE, by the bytes of their UUID there. */
const uuids = {
  bl2: "5ff9ec0b4d223e4da544c39d81c73f0a",
  bl31: "47d4086d4cfe98469b952950cbbd5a00",
  /** OP-TEE's header: which images follow, and where they go. */
  bl32: "05d0e18953dc13478d2b500a4b7a3e38",
  /** OP-TEE itself. */
  bl32Extra1: "0b70c29b2a5a78409f650a5682738288",
} as const;

export type FipImage = keyof typeof uuids;

const magic = 0xaa64_0001;
/** Anything but 0. */
const serial = 0x1234_5678;
const headerBytes = 16;
const entryBytes = 40;

/** The package; images keep the order in which they are given. */
export function makeFip(images: Readonly<Partial<Record<FipImage, Uint8Array>>>): Buffer {
  const entries = Object.entries(images) as [FipImage, Uint8Array][];
  const table = Buffer.alloc(headerBytes + entryBytes * (entries.length + 1));
  table.writeUInt32LE(magic, 0);
  table.writeUInt32LE(serial, 4);
  let offset = table.length;
  let at = headerBytes;
  const entry = (uuid: string, size: number): void => {
    table.write(uuid, at, "hex");
    table.writeBigUInt64LE(BigInt(offset), at + 16);
    table.writeBigUInt64LE(BigInt(size), at + 24);
    at += entryBytes;
    offset += size;
  };
  for (const [name, image] of entries) entry(uuids[name], image.length);
  // The end of the table is an entry of no image, whose offset is where the package ends.
  entry("", 0);
  return Buffer.concat([table, ...entries.map(([, image]) => image)]);
}
