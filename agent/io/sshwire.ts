/** Strings and numbers as SSH writes them (RFC 4251, 5): a length of four bytes, then the bytes. */

export function sshString(value: string | Uint8Array): Uint8Array {
  const bytes = typeof value === "string" ? new TextEncoder().encode(value) : value;
  return joined(sshUint32(bytes.length), bytes);
}

export function sshUint32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

export function joined(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

/** Reads one after the other; what is not there is the failure that `refuse` makes. */
export class SshReader {
  private at = 0;
  private readonly from: Uint8Array;
  private readonly refuse: () => Error;

  constructor(from: Uint8Array, refuse: () => Error) {
    this.from = from;
    this.refuse = refuse;
  }

  uint8(): number {
    return this.take(1)[0] as number;
  }

  uint32(): number {
    const bytes = this.take(4);
    return new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0);
  }

  string(): Uint8Array {
    return this.take(this.uint32());
  }

  text(): string {
    return new TextDecoder().decode(this.string());
  }

  private take(count: number): Uint8Array {
    if (count > this.from.length - this.at) throw this.refuse();
    this.at += count;
    return this.from.subarray(this.at - count, this.at);
  }
}
