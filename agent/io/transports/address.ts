/**
 * Where a card is reached: every form that `--port` takes, as one table. Whoever adds a form adds
 * a row here, a case in open.ts or session.ts, and nothing else.
 */
import { Failure } from "../../errors.ts";

export type Address =
  | { readonly kind: "serial"; readonly path: string }
  | { readonly kind: "rshim"; readonly path: string }
  | { readonly kind: "tcp" | "rfc2217"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string }
  | { readonly kind: "pty" }
  | { readonly kind: "exec"; readonly command: string }
  | { readonly kind: "file"; readonly path: string }
  /** The seed of --seed unless given. */
  | { readonly kind: "sim"; readonly seed: number | null };

export interface Form {
  /** As people write it. */
  readonly form: string;
  readonly meaning: string;
  /** What the text begins with; "" for the last row, which takes the rest. */
  readonly prefix: string;
  /** The address behind the prefix; null when it is not one. */
  readonly parse: (rest: string) => Address | null;
}

const portMax = 65_535;
const seedMax = 0xffff_ffff;

/** The first row whose prefix fits counts. */
export const forms: readonly Form[] = [
  {
    form: "rshim:N",
    meaning: "console of a BlueField card, /dev/rshimN/console: a plain file, no speed",
    prefix: "rshim:",
    parse: (rest) =>
      /^\d{1,4}$/.test(rest) ? { kind: "rshim", path: `/dev/rshim${rest}/console` } : null,
  },
  {
    form: "tcp://HOST:PORT",
    meaning: "raw bytes over TCP, as ser2net's raw mode and QEMU give",
    prefix: "tcp://",
    parse: (rest) => onNetwork("tcp", rest),
  },
  {
    form: "rfc2217://HOST:PORT",
    meaning: "a serial port over TCP with its speed (RFC 2217), as ser2net and exporters give",
    prefix: "rfc2217://",
    parse: (rest) => onNetwork("rfc2217", rest),
  },
  {
    form: "unix:PATH",
    meaning: "a Unix socket: a line that `kennel serve` shares, or QEMU's",
    prefix: "unix:",
    parse: (path) => (path === "" ? null : { kind: "unix", path }),
  },
  {
    form: "pty:",
    meaning: "makes a pseudo terminal, says its name, and waits for a card at its other end",
    prefix: "pty:",
    parse: (rest) => (rest === "" ? { kind: "pty" } : null),
  },
  {
    form: "exec:COMMAND",
    meaning: "stdin and stdout of a shell command, such as exec:ssh lab3 cat-serial",
    prefix: "exec:",
    parse: (command) => (command.trim() === "" ? null : { kind: "exec", command }),
  },
  {
    form: "file:FILE",
    meaning: "what --record wrote: plays its text, and answers what it was asked then",
    prefix: "file:",
    parse: (path) => (path === "" ? null : { kind: "file", path }),
  },
  {
    form: "sim:[SEED]",
    meaning: "a private simulated card, as --sim",
    prefix: "sim:",
    parse: (rest) => {
      if (rest === "") return { kind: "sim", seed: null };
      const seed = Number(rest);
      return /^\d{1,10}$/.test(rest) && seed <= seedMax ? { kind: "sim", seed } : null;
    },
  },
  {
    form: "PATH",
    meaning: "a serial device: /dev/ttyUSB0, or /dev/serial/by-id/... which keeps its name",
    prefix: "",
    parse: (path) =>
      /^\/dev\/rshim\d+\/console$/.test(path) ? { kind: "rshim", path } : { kind: "serial", path },
  },
];

/** Reads what `--port` was given. Failure `usage.invalid` names the form that was meant. */
export function parseAddress(text: string): Address {
  for (const { prefix, form, parse } of forms) {
    if (!text.startsWith(prefix)) continue;
    const address = parse(text.slice(prefix.length));
    if (address !== null) return address;
    throw new Failure("usage.invalid", `--port ${text}: expected ${form}. See kennel help ports.`, {
      evidence: { port: text, expected: form },
    });
  }
  throw new Failure("usage.invalid", "--port: nothing given");
}

/** HOST:PORT; an IPv6 address stands in brackets. A slash at the end does no harm. */
function onNetwork(kind: "tcp" | "rfc2217", rest: string): Address | null {
  const found = /^(?:\[([0-9a-fA-F:.%\w]+)\]|([^[\]/:?#@\s]+)):(\d{1,5})\/?$/.exec(rest);
  const host = found?.[1] ?? found?.[2];
  const port = Number(found?.[3]);
  if (host === undefined || !(port >= 1 && port <= portMax)) return null;
  return { kind, host, port };
}
