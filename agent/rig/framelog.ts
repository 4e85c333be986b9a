/** What goes over the line at the host's end, in both directions, for the log of a run. */
import type { Port } from "../io/port.ts";

/** `log` gets a line per piece: time, `>` to the card or `<` from it, and its bytes as text. */
export function loggedPort(port: Port, now: () => number, log: (line: string) => void): Port {
  const note = (arrow: string, bytes: Uint8Array): void => {
    const text = JSON.stringify(Buffer.from(bytes).toString("latin1"));
    log(`${now().toFixed(1)} ${arrow} ${text}\n`);
  };
  return {
    name: port.name,
    write: (bytes) => {
      note(">", bytes);
      return port.write(bytes);
    },
    onData: (listen) =>
      port.onData((bytes) => {
        note("<", bytes);
        listen(bytes);
      }),
    onClose: (listen) => port.onClose(listen),
    get waitingBytes() {
      return port.waitingBytes;
    },
    close: () => port.close(),
  };
}
