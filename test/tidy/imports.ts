/** Who may import what: the table of the design, and one owner per package with consequences. */
import { posix } from "node:path";
import { timersIn } from "./rules.ts";
import { assemblers, assembling, lineAt, type Source } from "./source.ts";

export interface Import {
  readonly line: number;
  readonly specifier: string;
  /** False for what is gone at run time: `import type` and `export type`. */
  readonly isValue: boolean;
}

/** What a part of the tree may import: `values` at run time, `types` besides. */
interface Zone {
  readonly name: string;
  readonly holds: RegExp;
  readonly values: RegExp;
  readonly types: RegExp;
}

const nothing = /^$/;
const anything = /^/;
const core = `agent/(?!${assembling}|build\\.d\\.ts)[a-z]+\\.ts|agent/(heads|answers)/.+`;

/** The first zone that holds a file counts; a file in none is itself a problem. */
const zones: readonly Zone[] = [
  {
    name: "what only assembles",
    holds: new RegExp(
      `^(${assemblers}|agent/((console|rig)/|sim/(world|day)\\.ts)|test/|build\\.mjs$)`,
    ),
    values: anything,
    types: anything,
  },
  { name: "agent/errors.ts", holds: /^agent\/errors\.ts$/, values: nothing, types: nothing },
  {
    name: "machines and monitors",
    holds: /^agent\/(machines|monitors)\//,
    values: /^agent\/(errors\.ts|machines\/|monitors\/)/,
    types: /^agent\/(wire\/|io\/|events\.ts)/,
  },
  {
    name: "the wire",
    holds: /^agent\/wire\//,
    values: /^(agent\/(errors\.ts|wire\/)|cbor-x$)/,
    types: /^agent\/machines\//,
  },
  {
    name: "io",
    holds: /^agent\/io\//,
    values: /^(agent\/(errors\.ts|io\/|wire\/tee(pipe|twin|api)\.ts)|node:|native\/|@?serialport)/,
    types: /^agent\/(wire|machines)\//,
  },
  {
    name: "the simulator",
    holds: /^agent\/sim\//,
    values: /^agent\/(errors\.ts|sim\/|machines\/|wire\/)/,
    types: /^agent\//,
  },
  {
    name: "the core",
    holds: new RegExp(`^(${core})$`),
    values: new RegExp(`^(${core}|agent/(machines|monitors|wire)/.+|boot/stages\\.json)$`),
    types: /^agent\/io\//,
  },
  {
    name: "the client library",
    holds: /^agent\/client\//,
    values: /^(agent\/(errors\.ts|wire\/|client\/)|node:)/,
    types: nothing,
  },
  {
    name: "native",
    holds: /^native\//,
    values: /^(agent\/errors\.ts$|native\/|node:)/,
    types: nothing,
  },
  { name: "the boot half", holds: /^boot\//, values: /^(boot\/|node:)/, types: nothing },
  { name: "declarations", holds: /^agent\/build\.d\.ts$/, values: nothing, types: nothing },
];

/** Packages that one file keeps to itself, and who may look past it. */
const owned = [
  { package: /^cbor-x$/, owner: /^agent\/wire\/cbor\.ts$/, besides: /^test\// },
  {
    package: /^@?serialport\b/,
    owner: /^agent\/io\/(serial|port)\.ts$/,
    besides: /^agent\/io\/\w+\.d\.ts$/,
  },
];

const statement = /\b(import|export)\b(\s+type\b)?([^;'"()]*?)\bfrom\s*["']/g;
const sideEffect = /^[ \t]*import\s*["']/gm;
const call = /\b(?:import|require)\s*\(\s*["'`]/g;

/** All imports of a script, re-exports included. */
export function importsOf(source: Source): Import[] {
  const found: Import[] = [];
  const add = (match: RegExpMatchArray, isValue: boolean): void => {
    const start = (match.index ?? 0) + match[0].length;
    const rest = source.text.slice(start);
    const specifier = rest.slice(0, rest.search(/["'`]/));
    found.push({ line: lineAt(source, match.index ?? 0), specifier, isValue });
  };
  for (const match of source.code.matchAll(statement)) add(match, match[2] === undefined);
  for (const match of source.code.matchAll(sideEffect)) add(match, true);
  for (const match of source.code.matchAll(call)) add(match, true);
  return found.sort((left, right) => left.line - right.line);
}

/** The file in the repository that a relative specifier means; packages stay as they are. */
function targetOf(source: Source, specifier: string): string {
  if (!specifier.startsWith(".")) return specifier;
  return posix.normalize(posix.join(posix.dirname(source.path), specifier));
}

const realThing = /\b(?:process|Date|Math\.random|performance)\b/;

/**
 * Files of io/ that only say how things look: interfaces and constants, no real thing behind
 * them. Who may know their types may know their constants too.
 */
export function contractsAmong(sources: readonly Source[]): Set<string> {
  const contracts = sources.filter(
    (source) =>
      source.path.startsWith("agent/io/") &&
      !realThing.test(source.code) &&
      timersIn(source.code).length === 0 &&
      !importsOf(source).some(({ isValue }) => isValue),
  );
  return new Set(contracts.map(({ path }) => path));
}

/** Problems of one file, as `path:line: what`. */
export function importProblems(source: Source, contracts: ReadonlySet<string>): string[] {
  const zone = zones.find(({ holds }) => holds.test(source.path));
  if (!zone) return [`${source.path}:1: in no zone of the import table`];
  return importsOf(source).flatMap(({ line, specifier, isValue }) => {
    const target = targetOf(source, specifier);
    const isKnown = zone.types.test(target);
    const isHarmless = !isValue || contracts.has(target);
    const isAllowed = zone.values.test(target) || (isKnown && isHarmless);
    const owner = owned.find((one) => one.package.test(specifier));
    return [
      ...(isAllowed ? [] : [`${zone.name} may not import ${isKnown ? "values of " : ""}${target}`]),
      ...(!owner || owner.owner.test(source.path) || owner.besides.test(source.path)
        ? []
        : [`${specifier} belongs to ${owner.owner.source} alone`]),
      ...(!specifier.startsWith(".") || /\.(ts|mjs|json)$/.test(specifier)
        ? []
        : [`${specifier} lacks its suffix`]),
    ].map((what) => `${source.path}:${line}: ${what}`);
  });
}

/** Packages with an owner have one: more than one file that imports them is a problem. */
export function ownerProblems(sources: readonly Source[]): string[] {
  return owned.flatMap((one) => {
    const users = sources.filter(
      (source) =>
        one.owner.test(source.path) &&
        importsOf(source).some(({ specifier }) => one.package.test(specifier)),
    );
    if (users.length < 2) return [];
    return [`${users.map(({ path }) => path).join(" and ")}: both import ${one.package.source}`];
  });
}
