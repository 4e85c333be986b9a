/** What a person types at `kennel console`: keys for the card, and `~` at the start of a line. */

const tilde = 0x7e;
const lineEnds: readonly number[] = [0x0a, 0x0d];

export const escapeHelp =
  "~.  end    ~~  send a ~    ~?  this help    (only at the start of a line)";

export interface Typed {
  /** For the card. */
  readonly send: Uint8Array;
  /** What is wanted of the console itself. */
  readonly wants: "end" | "help" | null;
}

export class EscapeKeys {
  /** After Enter, and at the very beginning. */
  private isLineStart = true;
  /** A `~` that waits for its second key. */
  private isHeld = false;

  /** Keys after an escape that ends are not for the card. */
  push(keys: Uint8Array): Typed {
    const send: number[] = [];
    let wants: Typed["wants"] = null;
    for (const key of keys) {
      if (this.isHeld) {
        this.isHeld = false;
        if (key === 0x2e) return { send: Uint8Array.from(send), wants: "end" };
        if (key === 0x3f) wants = "help";
        else if (key === tilde) send.push(tilde);
        else send.push(tilde, key);
        this.isLineStart = key === 0x3f || lineEnds.includes(key);
      } else if (key === tilde && this.isLineStart) {
        this.isHeld = true;
      } else {
        send.push(key);
        this.isLineStart = lineEnds.includes(key);
      }
    }
    return { send: Uint8Array.from(send), wants };
  }
}
