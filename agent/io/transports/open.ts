/** Opens what an address means, each time as a new port: nothing survives from the one before. */
import { assertNever, Failure } from "../../errors.ts";
import type { Port } from "../port.ts";
import type { SerialOptions } from "../serial.ts";
import type { Address } from "./address.ts";

export interface OpenOptions extends SerialOptions {
  /** Says what a person has to know to use the line, one sentence at a time. */
  readonly note: (text: string) => void;
}

/** What reaches a card by the operating system alone; recordings and simulated cards do not. */
export type RealAddress = Exclude<Address, { kind: "file" | "sim" }>;

/** Rejects with the Failure of the transport: a port.* code, or native.missing. */
export async function openAddress(address: RealAddress, options: OpenOptions): Promise<Port> {
  const { kind } = address;
  if (kind !== "serial" && kind !== "rfc2217") refuseControl(kind, options);
  switch (kind) {
    case "serial":
      return openDevice(address.path, options);
    case "rshim": {
      const { openPlain } = await import("./lineport.ts");
      return openPlain(address.path);
    }
    case "pty": {
      const { openPty } = await import("./lineport.ts");
      return openPty((path) => options.note(`the card's end of the line is ${path}`));
    }
    case "tcp": {
      const { openTcp } = await import("./socket.ts");
      return openTcp(address.host, address.port, textOf(address));
    }
    case "rfc2217": {
      const { openRfc2217 } = await import("./rfc2217.ts");
      return openRfc2217(address.host, address.port, textOf(address), options);
    }
    case "unix": {
      const { openUnix } = await import("./socket.ts");
      return openUnix(address.path);
    }
    case "exec": {
      const { openChild } = await import("./child.ts");
      return openChild(address.command);
    }
    default:
      return assertNever(address);
  }
}

function textOf({ kind, host, port }: { kind: string; host: string; port: number }): string {
  return `${kind}://${host.includes(":") ? `[${host}]` : host}:${port}`;
}

function refuseControl(kind: string, { dtr, rts }: SerialOptions): void {
  if (dtr === undefined && rts === undefined) return;
  const message = `--dtr and --rts: a line of the kind ${kind} has no control lines.`;
  throw new Failure("usage.invalid", message, { evidence: { kind } });
}

async function openDevice(path: string, options: SerialOptions): Promise<Port> {
  const { openSerial } = await import("../serial.ts");
  return new Promise((resolve, reject) => {
    openSerial(path, options, (opened) => {
      if (opened instanceof Failure) reject(opened);
      else resolve(opened);
    });
  });
}
