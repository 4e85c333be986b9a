/**
 * The door for debuggers that QEMU has (GDB's remote protocol), as far as the rig needs it: a
 * register of the stopped card is changed. Source: GDB manual, appendix E.
 */
import net from "node:net";
import { Failure } from "../errors.ts";

const answerMs = 10_000;

/** Sets a register of the first processor, by GDB's number for it, to a 64-bit value. */
export async function setRegister(
  socketPath: string,
  number: number,
  value: bigint,
): Promise<void> {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  const socket = net.connect(socketPath);
  try {
    // QEMU has registers by number only for those who have asked what there is.
    await ask(socket, "qXfer:features:read:target.xml:0,ffb");
    const set = await ask(socket, `P${number.toString(16)}=${bytes.toString("hex")}`);
    if (set !== "OK")
      throw new Failure("rig.fault", `QEMU does not set register ${number}: ${set}`);
    await ask(socket, "D");
  } finally {
    socket.destroy();
  }
}

/** Sends a packet, and gives the content of the one that answers it. */
function ask(socket: net.Socket, packet: string): Promise<string> {
  const sum = [...Buffer.from(packet)].reduce((total, byte) => (total + byte) & 0xff, 0);
  return new Promise((resolve, reject) => {
    let text = "";
    const end = (act: () => void): void => {
      clearTimeout(timer);
      socket.off("data", hear);
      act();
    };
    const fail = (why: string) => (): void => {
      end(() => reject(new Failure("rig.fault", `QEMU's debug door: ${why}`)));
    };
    const hear = (some: Buffer): void => {
      text += some.toString("latin1");
      const content = /\$([^#]*)#[0-9a-f]{2}/.exec(text)?.[1];
      if (content === undefined) return;
      socket.write("+");
      end(() => resolve(content));
    };
    const timer = setTimeout(fail(`no answer to ${packet}`), answerMs);
    socket.on("data", hear);
    socket.once("error", fail("it is closed"));
    socket.write(`$${packet}#${sum.toString(16).padStart(2, "0")}`);
  });
}
