/** The limits and bans of the design that are no imports. */
import { assemblers, functionsOf, lineAt, type Source } from "./source.ts";

const fileLinesMax = 400;
const functionLinesMax = 70;
const columnsMax = 100;

/** Words that mark unfinished work, put together so that this file does not contain them. */
const markers = new RegExp(
  `\\b(${["TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK"].join("|")})\\b`,
);
/** Folders of somebody's machine. */
const machinePaths = new RegExp(`/${"work"}/|/${"root"}/|/home/\\w`);

interface Ban {
  readonly what: string;
  readonly pattern: RegExp;
  /** Where it applies, by path. */
  readonly where: RegExp;
}

const scripts = /\.(ts|mjs)$/;
/** All but io/, the entries, the rig and the tests: there time and chance come as arguments. */
const timeless = new RegExp(
  `^(?!agent/(io|client|console|rig)/|${assemblers}|test/|build\\.mjs).*\\.(ts|mjs)$`,
);
/** Runs the same anywhere: nothing of Node is in reach. */
const pure = new RegExp(
  `^(?!agent/(io|client|console|rig)/|${assemblers}|agent/sim/(world|day)\\.ts)agent/.*\\.ts$`,
);

const bans: readonly Ban[] = [
  { what: "Date.now", pattern: /\bDate\.now\b/g, where: timeless },
  { what: "new Date() without a time", pattern: /\bnew Date\(\s*\)/g, where: timeless },
  { what: "Math.random", pattern: /\bMath\.random\b/g, where: timeless },
  { what: "performance.now", pattern: /\bperformance\.now\b/g, where: timeless },
  { what: "process.hrtime", pattern: /\bprocess\.hrtime\b/g, where: timeless },
  { what: "process", pattern: /(?<![.\w])process\s*[.?[]/g, where: pure },
  {
    what: "loading native code outside native/load.ts",
    pattern: /\bcreateRequire\b|\bprocess\.dlopen\b/g,
    where: /^(agent|native)\/(?!load\.ts$).*\.ts$/,
  },
  {
    what: "a computed import",
    pattern: /\b(?:import|require)\s*\(\s*[^"'`\s)]/g,
    where: /^(agent|native)\/.*\.ts$/,
  },
  { what: "export default", pattern: /\bexport\s+default\b|\bas\s+default\b/g, where: scripts },
  { what: "export *", pattern: /\bexport\s*\*/g, where: scripts },
  {
    what: "enum",
    pattern: /^\s*(?:export\s+|declare\s+|const\s+)*enum\s+\w/gm,
    where: scripts,
  },
  {
    what: "namespace",
    pattern: /^\s*(?:export\s+|declare\s+)*namespace\s+\w/gm,
    where: scripts,
  },
  {
    what: "uvu's shared test: use suite()",
    pattern: /\bimport\s*\{[^}]*\btest\b[^}]*\}\s*from\s*["']/g,
    where: /\.test\.ts$/,
  },
  // V8 aborts when it gives back pages that are locked.
  { what: "mlockall", pattern: /\bmlockall\s*\(/g, where: /^native\/.*\.(cc|h)$/ },
];

/** Global timers, called or passed on; members and methods of that name are others. */
const timer =
  /(?<![.\w$#])(?:setTimeout|setInterval|setImmediate)\b|\bglobal(?:This)?\.set[TI]\w+/g;

/** Uses of global timers: what stands where. */
export function timersIn(code: string): { index: number; name: string }[] {
  return [...code.matchAll(timer)]
    .map(({ index, 0: name }) => ({ index, name }))
    .filter(({ index, name }) => !isDeclaration(code, index, index + name.length));
}

function timerProblems(source: Source): string[] {
  if (!timeless.test(source.path)) return [];
  return timersIn(source.code).map(
    ({ index, name }) => `${source.path}:${lineAt(source, index)}: ${name}`,
  );
}

/** `name(...): type` and `name(...) {` at the beginning of a line, or a property `name: ...`. */
function isDeclaration(code: string, start: number, end: number): boolean {
  if (/[{,]\s*$/.test(code.slice(0, start)) && /^\s*:/.test(code.slice(end))) return true;
  const before = code.slice(code.lastIndexOf("\n", start) + 1, start);
  const isFirst = /^\s*(?:(?:async|override|public|private|protected|readonly)\s+)*$/.test(before);
  if (!isFirst) return false;
  if (/^\??:/.test(code.slice(end))) return true;
  let depth = 0;
  for (let at = end; at < code.length; at++) {
    if (code[at] === "(") depth += 1;
    else if (code[at] === ")") depth -= 1;
    if (depth === 0) return /^\s*[:{]/.test(code.slice(at + 1));
  }
  return false;
}

function banProblems(source: Source): string[] {
  return bans
    .filter(({ where }) => where.test(source.path))
    .flatMap(({ what, pattern }) =>
      [...source.code.matchAll(pattern)].map(
        ({ index }) => `${source.path}:${lineAt(source, index)}: ${what}`,
      ),
    );
}

function sizeProblems(source: Source): string[] {
  const { path, text } = source;
  const lines = text.replace(/\n$/, "").split("\n");
  const long = lines.flatMap((line, index) =>
    [...line].length > columnsMax ? [`${path}:${index + 1}: over ${columnsMax} columns`] : [],
  );
  const functions = functionsOf(source)
    .filter((found) => found.lines > functionLinesMax)
    .map((found) => `${path}:${found.line}: function of ${found.lines} lines`);
  return [
    ...(lines.length > fileLinesMax ? [`${path}:1: ${lines.length} lines`] : []),
    ...long,
    ...functions,
  ];
}

/** What no text in the repository may contain, code or not. */
export function textProblems(path: string, text: string): string[] {
  return text.split("\n").flatMap((line, index) => {
    const at = `${path}:${index + 1}:`;
    const marker = markers.exec(line);
    return [
      ...(marker ? [`${at} leftover marker ${marker[0]}`] : []),
      ...(machinePaths.test(line) ? [`${at} path of a machine`] : []),
    ];
  });
}

/** Limits and bans of one file of code. */
export function codeProblems(source: Source): string[] {
  const isTest = /\.test\.ts$/.test(source.path);
  const runs = /^\w+\.run\(\);$/m.test(source.code);
  return [
    ...sizeProblems(source),
    ...banProblems(source),
    ...timerProblems(source),
    ...(isTest && !runs ? [`${source.path}:1: no suite is run()`] : []),
  ];
}
