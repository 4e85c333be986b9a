/** What the agent answers to the standard groups of SMP; see wire/standard.ts. */
import type { Agent } from "../agent.ts";
import { Failure } from "../errors.ts";
import { queueMax, ringMax } from "../events.ts";
import type { Handlers, Line } from "../heads/host.ts";
import { portQueueBytesMax } from "../io/port.ts";
import { pendingMax, segmentBytesMax } from "../ledger.ts";
import { packetBytesMax } from "../wire/command.ts";
import { commands, groups as groupIds, type ResponseOf } from "../wire/commands.ts";
import { GroupFailure } from "../wire/grouperrors.ts";
import { crc32 } from "../wire/seal.ts";
import { clockSetMs, parseDatetime, showDatetime } from "./datetime.ts";
import { keptMax } from "./files.ts";
import { nameMax, valueBytesMax } from "./settings.ts";
import { statistics, statisticsNames } from "./statistics.ts";

export function standardAnswers(agent: Agent): Handlers {
  return {
    ...osAnswers(agent),
    ...settingsAnswers(agent),
    ...fileAnswers(agent),
    ...enumerationAnswers(agent),
    "statistics.list": () => ({ stat_list: [...statisticsNames] }),
    "statistics.group": ({ name }, line) => {
      const fields = statistics(agent, line, name);
      if (fields !== null) return { name, fields };
      throw new GroupFailure("statistics.group", `there are no statistics named "${name}"`);
    },
  };
}

function osAnswers(agent: Agent): Handlers {
  const { io } = agent;
  return {
    "os.echo": ({ d }) => ({ r: d }),
    "os.taskstat": () => taskStat(agent),
    "os.mpstat": (_request, line) => ({ mpools: pools(agent, line) }),
    "os.datetime": () => {
      const wallMs = io.clock.wallMs();
      if (wallMs >= clockSetMs) return { datetime: showDatetime(wallMs) };
      throw new GroupFailure("os.clock_not_set", `its clock says ${showDatetime(wallMs)}`);
    },
    "os.set_datetime": ({ datetime }) => setDate(agent, datetime),
    "os.reset": ({ force = 0, boot_mode = 0 }, line) => {
      if (boot_mode > 255)
        throw new Failure("usage.invalid", `boot_mode ${boot_mode} is above 255`);
      if (boot_mode !== 0) {
        throw new Failure("wire.unsupported", `this card has no boot mode but 0, the usual one`);
      }
      const { state } = agent.watchdog;
      if (state.kind === "holding" && Number(force) === 0) {
        throw new Failure("card.held", `${state.by} holds this card; force resets it all the same`);
      }
      agent.reset("host", line);
      return {};
    },
    // The largest packet plus 4: clients subtract the length and the checksum of the frame.
    "os.params": () => ({ buf_size: packetBytesMax + 4, buf_count: 1 }),
    "os.info": ({ format = "" }) => ({ output: osInfo(agent, format === "" ? "s" : format) }),
    "os.bootloader": ({ query }) => bootloader(agent, query),
  };
}

function setDate(agent: Agent, datetime: string): Record<string, never> {
  const { clock, platform } = agent.io;
  const wallMs = parseDatetime(datetime);
  if (wallMs === null) {
    const message = `"${datetime}" is no yyyy-MM-ddTHH:mm:ss[.SSS][Z or +HH:mm]`;
    throw new Failure("usage.invalid", message);
  }
  const before = showDatetime(clock.wallMs());
  const problem = platform.setDate(wallMs);
  if (problem !== null) throw new GroupFailure("os.clock_failed", problem);
  agent.emit({ kind: "card:clock_set", before, set: showDatetime(wallMs) });
  return {};
}

/** MCUboot's number for what our loader does: either slot boots in place, a bad one is left. */
const directWithRevert = 5;

function bootloader(agent: Agent, query: string | undefined): ResponseOf<"os.bootloader"> {
  const { isOfLoader } = agent.boot;
  if (query === undefined) return { bootloader: isOfLoader ? "Kennel" : "unknown" };
  if (query === "mode") return { mode: isOfLoader ? directWithRevert : -1 };
  throw new GroupFailure("os.no_answer", `no answer to bootloader query "${query}"`);
}

/** The fields of `os info`, in the fixed order of the standard; see SMP group 0, command 7. */
function osInfo(agent: Agent, format: string): string {
  const names = agent.io.platform.names();
  const fields: Record<string, string> = {
    s: names.os,
    n: names.host,
    r: names.release,
    v: names.version,
    b: `kenneld-${agent.config.version}`,
    m: names.machine,
    p: names.machine,
    i: names.platform,
    o: names.os,
  };
  const unknown = [...format].find((letter) => letter !== "a" && !Object.hasOwn(fields, letter));
  if (unknown !== undefined) {
    throw new GroupFailure("os.format", `unknown format letter "${unknown}"`);
  }
  const wanted = (letter: string): boolean => format.includes("a") || format.includes(letter);
  return Object.entries(fields)
    .filter(([letter]) => wanted(letter))
    .map(([, value]) => value)
    .join(" ");
}

type Tasks = ResponseOf<"os.taskstat">["tasks"];

/** Tasks and threads in one answer: 15 of at most 130 bytes fit a packet. */
const tasksMax = 15;

/**
 * The tasks that check in, with the times of that, and the agent's own threads, with what Linux
 * counts of them; 0 stands for what nobody counts.
 */
function taskStat(agent: Agent): { tasks: Tasks } {
  const nowMs = agent.io.clock.now();
  const nothing = { stkuse: 0, stksiz: 0, cswcnt: 0, runtime: 0, last_checkin: 0, next_checkin: 0 };
  const tasks = agent.watchdog.tasks().tasks.map(({ name, due_in_ms, every_ms }, tid) => {
    const times = {
      last_checkin: Math.max(Math.round(nowMs + due_in_ms - every_ms), 0),
      next_checkin: Math.max(Math.round(nowMs + due_in_ms), 0),
    };
    return [name, { prio: 0, tid, state: 0, ...nothing, ...times }] as const;
  });
  const threads = agent.io.platform.threads().map((thread) => {
    const { id: tid, priority: prio, state, ticks: runtime, contextSwitches: cswcnt } = thread;
    return [`${thread.name}/${tid}`, { prio, tid, state, ...nothing, cswcnt, runtime }] as const;
  });
  return { tasks: Object.fromEntries([...tasks, ...threads].slice(0, tasksMax)) };
}

/** What the agent keeps within bounds; `blksiz` is 1 where things are counted, not bytes. */
function pools(agent: Agent, line: Line): ResponseOf<"os.mpstat">["mpools"] {
  const pool = (nblks: number, used: number, peak: number, blksiz = 1) => {
    return { blksiz, nblks, nfree: Math.max(nblks - used, 0), min: Math.max(nblks - peak, 0) };
  };
  const { ledger, ring, files, peaks } = agent;
  const events = ring.recent().length;
  const { waiting_peak = 0 } = line.counters();
  return {
    queue: pool(queueMax, 0, peaks.queue),
    ring: pool(ringMax, events, events),
    spool: pool(
      pendingMax,
      ledger.pending.length,
      ledger.pendingPeak,
      segmentBytesMax / pendingMax,
    ),
    files: pool(keptMax, files.keptCount, files.keptPeak),
    line: pool(portQueueBytesMax, line.port.waitingBytes, waiting_peak),
  };
}

function settingsAnswers(agent: Agent): Handlers {
  const { settings } = agent;
  const tell: Agent["emit"] = (event) => agent.emit(event);
  return {
    "settings.read": ({ name, max_size }) => {
      const val = settings.read(name);
      if (max_size === undefined) return { val };
      const isLess = max_size > valueBytesMax;
      return { val: val.slice(0, max_size), ...(isLess ? { max_size: valueBytesMax } : {}) };
    },
    "settings.write": ({ name, val }) => {
      settings.write(name, val);
      return {};
    },
    "settings.delete": ({ name }) => {
      settings.delete(name);
      return {};
    },
    "settings.commit": () => {
      settings.commit(tell);
      return applySettings(agent);
    },
    "settings.load": () => {
      settings.load(tell);
      return applySettings(agent);
    },
    "settings.save": ({ name = "" }) => {
      if (name.length > nameMax) {
        throw new GroupFailure("settings.too_long", `a name of ${name.length} characters`);
      }
      settings.save(name);
      return {};
    },
  };
}

/** What the heads took over at their start, and can take anew. */
function applySettings(agent: Agent): Record<string, never> {
  const { runtime, readiness } = agent.config;
  const { preResetMs, holdMaxMs } = runtime;
  agent.watchdog.send({
    kind: "configure",
    atMs: agent.io.clock.now(),
    preResetMs,
    holdMaxMs,
  });
  agent.ready.allow(readiness.deadlineMs);
  return {};
}

function fileAnswers(agent: Agent): Handlers {
  const { files } = agent;
  return {
    "files.read": ({ name, off }, line) => {
      const { data, len } = files.read(line, named(name), off);
      return { off, data, ...(off === 0 ? { len } : {}) };
    },
    "files.write": ({ name }) => {
      throw new GroupFailure("files.read_only", `${named(name)}: the card's files are made by it`);
    },
    "files.status": ({ name }, line) => ({ len: files.whole(line, named(name)).length }),
    "files.hash": ({ name, type = "crc32", off = 0, len }, line) => {
      if (len === 0) throw new Failure("usage.invalid", "a hash of 0 bytes was asked for");
      if (!Object.hasOwn(hashTypes, type)) {
        throw new GroupFailure("files.hash_type", `no hash named "${type}"`);
      }
      const whole = files.whole(line, named(name));
      if (whole.length === 0) throw new GroupFailure("files.empty", `${name} is empty`);
      if (off >= whole.length) {
        throw new GroupFailure("files.beyond_end", `${name} has ${whole.length} bytes`);
      }
      const part = whole.slice(off, len === undefined ? whole.length : off + len);
      const output = type === "crc32" ? crc32(part) : agent.io.sha256(part);
      return { type, ...(off === 0 ? {} : { off }), len: part.length, output };
    },
    "files.hash_types": () => ({ types: { ...hashTypes } }),
    "files.close": (_request, line) => {
      files.close(line);
      return {};
    },
  };
}

/** `format` 0: a number, 1: bytes; `size` in bytes. */
const hashTypes = { crc32: { format: 0, size: 4 }, sha256: { format: 1, size: 32 } } as const;

function named(name: string): string {
  if (name === "") throw new Failure("usage.invalid", "a file has a name");
  return name;
}

function enumerationAnswers(agent: Agent): Handlers {
  return {
    "enumeration.count": () => ({ count: groupsOf(agent).length }),
    "enumeration.list": () => ({ groups: groupsOf(agent).map(([, id]) => id) }),
    "enumeration.one": ({ index = 0 }) => {
      const all = groupsOf(agent);
      const [, group] = all[index] ?? [];
      if (group === undefined) {
        throw new GroupFailure("enumeration.index", `group index ${index} of ${all.length}`);
      }
      return { group, ...(index === all.length - 1 ? { end: true } : {}) };
    },
    "enumeration.details": ({ groups = [] }) => ({
      groups: groupsOf(agent)
        .filter(([, id]) => groups.length === 0 || groups.includes(id))
        .map(([name, group]) => ({ group, name, handlers: handlersOf(group) })),
    }),
  };
}

/** Groups that are answered; the rig group only where faults can be injected. */
function groupsOf(agent: Agent): [name: string, id: number][] {
  const isRigged = Object.keys(agent.io.faults).length > 0;
  return Object.entries(groupIds).filter(([, id]) => {
    return handlersOf(id) > 0 && (id !== groupIds.rig || isRigged);
  });
}

/** Commands of a group: reading and writing one is one handler. */
function handlersOf(group: number): number {
  const ids = Object.values(commands).flatMap((one) => (one.group === group ? [one.id] : []));
  return new Set(ids).size;
}
