/** Texts kept in test/transcripts: a changed machine is a changed line there. UPDATE=1 rewrites. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as assert from "uvu/assert";

/** `text` must be what test/transcripts/`name` holds. */
export function matchesTranscript(name: string, text: string): void {
  const path = join(__dirname, "../../../test/transcripts", name);
  if (process.env.UPDATE === "1") writeFileSync(path, `${text}\n`);
  const kept = existsSync(path) ? readFileSync(path, "utf8") : "";
  assert.is(`${text}\n`, kept, `test/transcripts/${name} differs; UPDATE=1 rewrites it`);
}
