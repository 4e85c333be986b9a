// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are samples of code
/** The tree keeps the rules of the design; and each rule catches what it is there to catch. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { contractsAmong, importProblems, importsOf, ownerProblems } from "./tidy/imports.ts";
import { codeProblems, textProblems } from "./tidy/rules.ts";
import { functionsOf, type Source, sourceOf } from "./tidy/source.ts";

const tidy = suite("tidy");
const root = join(__dirname, "../..");
const skipped = new Set(["node_modules", "dist", ".build", ".cache", ".git"]);
const isCode = /\.(ts|mjs|cc|h|c)$/;
const isScript = /\.(ts|mjs)$/;
const isText = /\.(ts|mjs|cc|h|c|json|md|sh|yml|txt|service|toml|inf|dec|dsc)$|^\.ci\/|^[A-Z]+$/;

/** Paths of the repository's own files. */
function tree(folder = ""): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
    if (skipped.has(entry.name)) return [];
    return entry.isDirectory() ? tree(path) : [path];
  });
}

function read(path: string): Source {
  return sourceOf(path, readFileSync(join(root, path), "utf8"));
}

function none(problems: readonly string[]): void {
  assert.is(problems.join("\n"), "");
}

tidy("imports follow the table", () => {
  const sources = tree()
    .filter((path) => isScript.test(path))
    .map(read);
  assert.ok(sources.length > 20, "the tree was found");
  const contracts = contractsAmong(sources);
  const problems = sources.flatMap((source) => importProblems(source, contracts));
  none([...problems, ...ownerProblems(sources)]);
});

tidy("code keeps its limits and bans", () => {
  none(
    tree()
      .filter((path) => isCode.test(path))
      .flatMap((path) => codeProblems(read(path))),
  );
});

tidy("no leftover markers and no paths of a machine in any text", () => {
  const paths = tree().filter((path) => isText.test(path) && path !== "package-lock.json");
  none(paths.flatMap((path) => textProblems(path, readFileSync(join(root, path), "utf8"))));
});

tidy("the lock file names no registry", () => {
  const lock = readFileSync(join(root, "package-lock.json"), "utf8");
  assert.not.ok(/"resolved"/.test(lock), "install with omit-lockfile-registry-resolved=true");
});

// The rules themselves -------------------------------------------------------------------------

const noContracts: ReadonlySet<string> = new Set();

/** What all rules for code say of `text` as the file `path`, without the place. */
function said(path: string, text: string): string[] {
  const source = sourceOf(path, text);
  const problems = [...importProblems(source, noContracts), ...codeProblems(source)];
  return problems.map((line) => line.slice(line.indexOf(": ") + 2));
}

const wrongImports: readonly (readonly [path: string, text: string])[] = [
  ["agent/machines/a.ts", 'import { readFileSync } from "node:fs";'],
  ["agent/machines/a.ts", 'import type { X } from "node:fs";'],
  ["agent/machines/a.ts", 'import { RealClock } from "../io/clock.ts";'],
  ["agent/machines/a.ts", 'import { type Clock } from "../io/clock.ts";'],
  ["agent/machines/a.ts", 'import { encode } from "../wire/cbor.ts";'],
  ["agent/machines/a.ts", 'import { Journal } from "../journal.ts";'],
  ["agent/monitors/a.ts", 'export { A } from "../agent.ts";'],
  ["agent/wire/a.ts", 'import type { Port } from "../io/port.ts";'],
  ["agent/wire/a.ts", 'import { createHash } from "node:crypto";'],
  ["agent/wire/a.ts", 'import { encode } from "cbor-x";'],
  ["agent/io/a.ts", 'import { step } from "../machines/fsm.ts";'],
  ["agent/io/a.ts", 'import { SimClock } from "../sim/clock.ts";'],
  ["agent/io/a.ts", 'import { SerialPortStream } from "@serialport/stream";'],
  ["agent/sim/a.ts", 'import { RealClock } from "../io/clock.ts";'],
  ["agent/sim/a.ts", 'import "node:fs";'],
  ["agent/sim/a.ts", 'const fs = await import("node:fs");'],
  ["agent/sim/a.ts", 'const fs = require("node:fs");'],
  ["agent/agent.ts", 'import { RealClock } from "./io/clock.ts";'],
  ["agent/heads/a.ts", 'import {\n  a,\n  b,\n} from "node:os";'],
  ["agent/ledger.ts", "import * as sim from '../agent/sim/disk.ts';"],
  ["agent/errors.ts", 'import type { Code } from "./events.ts";'],
  ["agent/console/a.ts", 'import { decode } from "cbor-x";'],
  ["agent/console/a.ts", 'import { SerialPort } from "serialport";'],
  ["agent/console/a.ts", 'import { show } from "./show";'],
  ["native/index.ts", 'import { Journal } from "../agent/journal.ts";'],
  ["agent/elsewhere/a.ts", ""],
];

tidy("each wrong import is caught", () => {
  for (const [path, text] of wrongImports) {
    assert.is(said(path, text).length, 1, `${path}: ${text}: ${said(path, text).join("; ")}`);
  }
});

const rightImports: readonly (readonly [path: string, text: string])[] = [
  ["agent/machines/a.ts", 'import type { Clock } from "../io/clock.ts";'],
  [
    "agent/machines/a.ts",
    'import { step } from "./fsm.ts";\nimport { assert } from "../errors.ts";',
  ],
  ["agent/machines/a.ts", '// import { x } from "node:fs";\nconst text = "from \'node:fs\'";'],
  ["agent/machines/a.ts", 'const text = `import "node:fs"; ${1 + 1}`;'],
  ["agent/wire/cbor.ts", 'import { Encoder } from "cbor-x";'],
  ["agent/io/serial.ts", 'import { SerialPortStream } from "@serialport/stream";'],
  ["agent/io/a.ts", 'import { loadNative } from "../../native/load.ts";'],
  ["agent/sim/a.ts", 'import { placement } from "../machines/placement.ts";'],
  ["agent/sim/world.ts", 'import { SerialPort } from "../io/serial.ts";'],
  ["agent/heads/a.ts", 'export type { Port } from "../io/port.ts";'],
  ["agent/config.ts", 'import stages from "../boot/stages.json" with { type: "json" };'],
  ["agent/console/a.ts", 'import { Command } from "commander";'],
  ["test/bench/main.ts", 'import { encode } from "cbor-x";'],
];

tidy("each right import is let through", () => {
  for (const [path, text] of rightImports) none(said(path, text));
});

tidy("a file of io is a contract while it only says how things look", () => {
  const texts: Record<string, string> = {
    "agent/io/port.ts": "export const bytesMax = 16;\nexport interface Port {}",
    "agent/io/disk.ts": 'import type { Port } from "./port.ts";\nexport interface Disk {}',
    "agent/io/watchdog.ts": "export interface Watchdog {\n  setTimeout(ms: number): number;\n}",
    "agent/io/timer.ts": "export const arm = () => setTimeout(() => {}, 5);",
    "agent/io/files.ts": 'import { openSync } from "node:fs";',
    "agent/io/clock.ts": "export const now = () => process.hrtime();",
    "agent/io/date.ts": "export const now = () => Date.now();",
    "agent/io/second.ts": 'import { openSync } from "./files.ts";',
    "agent/sim/port.ts": "export const bytesMax = 16;",
  };
  const sources = Object.entries(texts).map(([path, text]) => sourceOf(path, text));
  const contracts = contractsAmong(sources);
  assert.equal([...contracts], ["agent/io/port.ts", "agent/io/disk.ts", "agent/io/watchdog.ts"]);
  const user = sourceOf("agent/heads/a.ts", 'import { bytesMax } from "../io/port.ts";');
  none(importProblems(user, contracts));
  assert.is(importProblems(user, noContracts).length, 1);
  const monitor = sourceOf("agent/wire/a.ts", 'import { bytesMax } from "../io/port.ts";');
  assert.is(importProblems(monitor, contracts).length, 1);
});

tidy("serialport in a second file is caught, each alone is not", () => {
  const text = 'import { SerialPortStream } from "@serialport/stream";';
  const sources = ["agent/io/serial.ts", "agent/io/port.ts"].map((path) => sourceOf(path, text));
  assert.is(ownerProblems(sources).length, 1);
  none(ownerProblems(sources.slice(1)));
});

tidy("an import keeps its line, its name and whether it lives at run time", () => {
  const text =
    '/* a\n b */ import type { A } from "./a.ts";\nimport b, {\n  c,\n} from "./b.ts";\n' +
    'export * from "./c.ts";\nexport const from = "./d.ts";\nimport("./e.ts");';
  assert.equal(importsOf(sourceOf("x.ts", text)), [
    { line: 2, specifier: "./a.ts", isValue: false },
    { line: 3, specifier: "./b.ts", isValue: true },
    { line: 6, specifier: "./c.ts", isValue: true },
    { line: 8, specifier: "./e.ts", isValue: true },
  ]);
});

const lines = (count: number, line = "  a();\n"): string => line.repeat(count);
const pure = "agent/machines/a.ts";

const wrongCode: readonly (readonly [path: string, text: string])[] = [
  [pure, "const at = Date.now();"],
  [pure, "const at = new Date();"],
  [pure, "const at = Math.random();"],
  ["agent/sim/a.ts", "const at = performance.now();"],
  [pure, "setTimeout(() => {}, 5);"],
  [pure, "const timer = wait ? setTimeout(go) : null;"],
  [pure, "const later = setInterval;"],
  [pure, "const later = isSoon ? setTimeout : never;"],
  [pure, "globalThis.setTimeout(go, 5);"],
  [pure, "const text = `${setTimeout(go, 5)}`;"],
  ["agent/sim/world.ts", "setImmediate(go);"],
  ["native/index.ts", "setTimeout(go, 5);"],
  [pure, "const level = process.env.LEVEL;"],
  ["agent/config.ts", "const level = process.env.LEVEL;"],
  ["agent/io/a.ts", "const load = createRequire(here);"],
  ["agent/io/a.ts", "process.dlopen(module, path);"],
  ["agent/console/a.ts", "const loaded = await import(path);"],
  ["agent/console/a.ts", "export default class {}"],
  ["agent/console/a.ts", "export { a as default };"],
  ["agent/console/a.ts", 'export * from "./b.ts";'],
  ["agent/console/a.ts", "export const enum Mode { a }"],
  ["agent/console/a.ts", "enum Mode { a }"],
  ["agent/console/a.ts", "declare namespace Mode {}"],
  ["agent/console/a.ts", `const a = "${"b".repeat(88)}";`],
  ["agent/console/a.ts", lines(401, "a();\n")],
  ["agent/console/a.ts", `function a() {\n${lines(69)}}\n`],
  ["agent/console/a.ts", `const a = () => {\n${lines(69)}};\n`],
  ["agent/console/a.ts", `export async function a(\n  b: B,\n): Promise<C> {\n${lines(67)}}\n`],
  ["agent/console/a.ts", `class A {\n  private a(b: B): { c: C } {\n${lines(69)}  }\n}\n`],
  ["agent/console/a.ts", `suite("a", async () => {\n${lines(69)}});\n`],
  ["native/a.cc", `void A::b(int c) {\n${lines(69)}}\n`],
  ["native/a.cc", `namespace a {\n\nA::A(int b)\n    : c_{1}, b_(b) {\n${lines(68)}}\n}\n`],
  ["native/a.h", `class A {\n public:\n  int b() const {\n${lines(69)}  }\n};\n`],
  ["native/a.cc", `int a; // ${"b".repeat(98)}\n`],
  ["native/a.cc", lines(401, "int a;\n")],
  ["native/a.cc", "int a = mlockall(MCL_CURRENT);\n"],
  ["test/unit/a.test.ts", 'import { test } from "uvu";\na.run();\n'],
  ["test/unit/a.test.ts", 'import { suite } from "uvu";\n'],
];

tidy("each piece of wrong code is caught, once", () => {
  for (const [path, text] of wrongCode) {
    const found = said(path, text);
    assert.is(found.length, 1, `${path}: ${text.slice(0, 80)}: ${found.join("; ")}`);
  }
});

const rightCode: readonly (readonly [path: string, text: string])[] = [
  [pure, "// Date.now() is not for here\nconst text = 'Math.random()';"],
  [pure, "const past = new Date(0);"],
  ["agent/io/watchdog.ts", "setTimeout(() => {}, 5);"],
  ["agent/sim/watchdog.ts", "class A {\n  setTimeout(timeoutMs: number): number {\n  }\n}"],
  ["agent/heads/a.ts", "interface A {\n  setTimeout(timeoutMs: number): number;\n}"],
  ["agent/heads/a.ts", "const granted = device.setTimeout(5);"],
  [pure, "const options = { setTimeout: 0x80, setInterval: 1 };"],
  [pure, "const pattern = /[/'\"]{2}/;\nconst ratio = a / b; const c = d / e;"],
  [pure, `const ratio = a${" ".repeat(40)}/ b; const quote = "'"; // ' /\nconst c = "Date.now()";`],
  ["agent/console/a.ts", `function a() {\n${lines(68)}}\nfunction b() {\n${lines(68)}}\n`],
  ["agent/console/a.ts", `const table = {\n${lines(100, "  a: 1,\n")}};\n`],
  ["agent/console/a.ts", `interface A {\n${lines(100, "  a(): number;\n")}}\n`],
  ["agent/console/a.ts", `class A {\n${lines(100, "  a() {}\n")}}\n`],
  ["agent/console/a.ts", `if (\n  a(b) &&\n  c\n) {\n${lines(100)}}\n`],
  ["agent/console/a.ts", `const a = {\n  b: c({\n${lines(100, "    d: 1,\n")}  }),\n};\n`],
  ["agent/console/a.ts", `const a = "${"ä".repeat(80)}";`],
  ["native/a.cc", `namespace a {\nint b(int c) {\n${lines(68)}}\nint d() {\n${lines(68)}}\n}\n`],
  ["native/a.cc", `const int a[] = {\n${lines(100, "  1'000,\n")}};\n`],
  ["native/a.cc", `bool a() { return b > 16'384; }\n${lines(100, "int a;\n")}`],
  ["test/unit/a.test.ts", 'import { suite } from "uvu";\nlines.run();\n'],
];

tidy("each piece of right code is let through", () => {
  for (const [path, text] of rightCode) none(said(path, text));
});

tidy("texts: each marker and each path of a machine is caught, whole words only", () => {
  const words = ["TO", "FIX", "X", "HA"].map(
    (head, index) => head + ["DO", "ME", "XX", "CK"][index],
  );
  const paths = ["work", "root", "home/ann"].map((folder) => `see /${folder}/x`);
  for (const text of [...words, ...paths]) {
    assert.is(textProblems("README.md", `a\n${text}: later`).length, 1, text);
  }
  none(textProblems("README.md", "a mastodon, XXXXXX, hacksaw, /workshop, /rooted"));
});

tidy("a function's extent counts from its name to its closing brace", () => {
  const text =
    "const x = `}${`{`}`;\nfunction a(\n  b = {},\n): void {\n  if (/}/.test(b)) {\n  }\n}\n";
  assert.equal(functionsOf(sourceOf("a.ts", text)), [{ line: 2, lines: 6 }]);
  const cpp =
    "// {\nnamespace {\nint a(int b) {\n  auto c = [] { return '}'; };\n}\n}  // namespace\n";
  assert.equal(functionsOf(sourceOf("a.cc", cpp)), [{ line: 3, lines: 3 }]);
});

tidy.run();
