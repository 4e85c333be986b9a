/** `npm run bench [-- NAME...]`: every figure is a ratio to a baseline taken in the same run. */
import { benchAccess } from "./access.ts";
import { benchBoots } from "./boots.ts";
import { benchIdle } from "./idle.ts";
import { sample } from "./lateness.ts";
import { benchLink } from "./link.ts";
import { serveCards } from "./manycards.ts";
import { benchRefresh } from "./refresh.ts";
import type { Line } from "./rows.ts";
import { benchStart } from "./start.ts";
import { benchTee } from "./tee.ts";
import { benchTeeApi } from "./teeapi.ts";
import { benchWire } from "./wire.ts";

const benches: Record<string, () => Line[] | Promise<Line[]>> = {
  start: benchStart,
  wire: benchWire,
  access: benchAccess,
  link: benchLink,
  boots: benchBoots,
  refresh: benchRefresh,
  idle: benchIdle,
  tee: benchTee,
  teeapi: benchTeeApi,
};

async function main(wanted: readonly string[]): Promise<void> {
  const unknown = wanted.find((name) => benches[name] === undefined);
  if (unknown !== undefined) {
    const known = Object.keys(benches).join(", ");
    process.stderr.write(`no benchmark named ${unknown}; there are ${known}\n`);
    process.exitCode = 2;
    return;
  }
  for (const [name, bench] of Object.entries(benches)) {
    if (wanted.length > 0 && !wanted.includes(name)) continue;
    process.stdout.write(`\n${name}\n`);
    for (const line of await bench()) process.stdout.write(`${shown(line)}\n`);
  }
}

function shown(line: Line): string {
  if (typeof line === "string") return line;
  const note = line.note === undefined ? "" : `  (${line.note})`;
  return `  ${line.name.padEnd(44)} ${line.value}${note}`;
}

const [first, load = ""] = process.argv.slice(2);
if (first === "sample") sample(load);
else if (first === "cards") serveCards();
else main(process.argv.slice(2));
