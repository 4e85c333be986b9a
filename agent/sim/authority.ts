/** Who may command a simulated card: its key file is a text that a story writes. */
import type { Authority, KeyFile } from "../io/authority.ts";
import type { Random } from "./random.ts";

export class SimAuthority implements Authority {
  readonly verifier: Authority["verifier"];
  private readonly randomness: Random;
  private file: KeyFile = { text: "", problem: "there is no authorized_keys" };

  /** `verifier`: the real one: signatures are as real as on a card. */
  constructor(verifier: Authority["verifier"], randomness: Random) {
    this.verifier = verifier;
    this.randomness = randomness;
  }

  /** Replaces the file; with a problem it does not count. */
  write(text: string, problem: string | null = null): void {
    this.file = { text: problem === null ? text : "", problem };
  }

  keyFile(): KeyFile {
    return this.file;
  }

  random(length: number): Uint8Array {
    return this.randomness.bytes(length);
  }
}
