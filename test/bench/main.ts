/** `npm run bench [-- NAME...]`: every figure is a ratio to a baseline taken in the same run. */
import { benchBoots } from "./boots.ts";
import { benchRefresh, type Row } from "./refresh.ts";
import { benchStart } from "./start.ts";
import { benchWire } from "./wire.ts";

const benches: Record<string, () => Row[] | Promise<Row[]>> = {
  start: benchStart,
  wire: benchWire,
  boots: benchBoots,
  refresh: benchRefresh,
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
    for (const row of await bench()) {
      const note = row.note === undefined ? "" : `  (${row.note})`;
      process.stdout.write(`  ${row.name.padEnd(44)} ${row.value}${note}\n`);
    }
  }
}

main(process.argv.slice(2));
