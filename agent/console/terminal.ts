/** Where the console's output goes. Data on stdout, everything else on stderr. */
import type { Writable } from "node:stream";

export interface Terminal {
  /** A person is looking: colours (unless refused) and redrawing in place make sense. */
  readonly isTty: boolean;
  readonly colours: boolean;
  /** Columns and rows of the screen; 80 and 24 where there is none. */
  readonly columns: number;
  readonly rows: number;
  /** Resolves once the system has taken the text; rejects when nobody reads it any more. */
  out(text: string): Promise<void>;
  err(text: string): void;
}

type Stream = Writable & { isTTY?: boolean; columns?: number; rows?: number };
type Environment = Readonly<Record<string, string | undefined>>;

/** NO_COLOR counts when set and not empty, whatever its value (no-color.org). */
export function terminal(out: Stream, err: Stream, env: Environment): Terminal {
  const isTty = out.isTTY === true;
  // Each write has its own answer; the event would end the process besides.
  out.on("error", () => {});
  err.on("error", () => {});
  const refused = (env.NO_COLOR ?? "") !== "" || env.TERM === "dumb";
  return {
    isTty,
    colours: isTty && !refused,
    get columns() {
      return out.columns ?? 80;
    },
    get rows() {
      return out.rows ?? 24;
    },
    out: (text) =>
      new Promise((resolve, reject) => {
        out.write(text, (error) => (error ? reject(error) : resolve()));
      }),
    err: (text) => void err.write(text),
  };
}
