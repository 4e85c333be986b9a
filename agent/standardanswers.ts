/** What the agent answers to the standard groups of SMP; see wire/standard.ts. */
import type { Agent } from "./agent.ts";
import { Failure } from "./errors.ts";
import type { Handlers } from "./heads/host.ts";
import { packetBytesMax } from "./wire/command.ts";
import { commands, type ResponseOf } from "./wire/commands.ts";

/** Groups answered, for the enumeration group; the rig group only where faults can be injected. */
const groupNames: readonly [number, string][] = [
  [0, "os"],
  [10, "enumeration"],
  [64, "card"],
  [65, "boot"],
  [66, "wdt"],
  [67, "tee"],
  [68, "report"],
  [70, "rig"],
];

export function standardAnswers(agent: Agent): Handlers {
  const { io } = agent;
  return {
    "os.echo": ({ d }) => ({ r: d }),
    "os.taskstat": () => taskStat(agent),
    "os.datetime": () => ({ datetime: new Date(io.clock.wallMs()).toISOString().slice(0, 23) }),
    "os.reset": (_request, line) => {
      agent.reset("host", line);
      return {};
    },
    // The largest packet plus 4: clients subtract the length and the checksum of the frame.
    "os.params": () => ({ buf_size: packetBytesMax + 4, buf_count: 1 }),
    "os.info": ({ format = "s" }) => ({ output: osInfo(agent, format) }),
    "os.bootloader": ({ query }) => {
      if (query === undefined) return { bootloader: "Kennel" };
      const message = `no answer to bootloader query "${query}"`;
      throw new Failure("wire.unsupported", message, { evidence: { osError: 3 } });
    },
    "enumeration.count": () => ({ count: groupsOf(agent).length }),
    "enumeration.list": () => ({ groups: groupsOf(agent).map(([id]) => id) }),
    "enumeration.one": ({ index = 0 }) => {
      const all = groupsOf(agent);
      const found = all[index];
      if (found === undefined) {
        const message = `group index ${index} of ${all.length}`;
        throw new Failure("usage.invalid", message, { evidence: { osError: 4 } });
      }
      return { group: found[0], ...(index === all.length - 1 ? { end: true } : {}) };
    },
    "enumeration.details": ({ groups }) => ({
      groups: groupsOf(agent)
        .filter(([id]) => groups === undefined || groups.includes(id))
        .map(([group, name]) => ({ group, name, handlers: handlersOf(group) })),
    }),
  };
}

function groupsOf(agent: Agent): [number, string][] {
  const rigged = Object.keys(agent.io.faults).length > 0;
  return groupNames.filter(([id]) => id !== 70 || rigged) as [number, string][];
}

function handlersOf(group: number): number {
  return Object.values(commands).filter((command) => command.group === group).length;
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
    i: agent.config.name,
    o: "Linux",
  };
  const unknown = [...format].find((letter) => letter !== "a" && fields[letter] === undefined);
  if (unknown !== undefined) {
    const message = `unknown format letter "${unknown}"`;
    throw new Failure("usage.invalid", message, { evidence: { osError: 2 } });
  }
  const wanted = (letter: string): boolean => format.includes("a") || format.includes(letter);
  return Object.entries(fields)
    .filter(([letter]) => wanted(letter))
    .map(([, value]) => value)
    .join(" ");
}

function taskStat(agent: Agent): ResponseOf<"os.taskstat"> {
  const { tasks } = agent.watchdog.tasks();
  const nowMs = agent.io.clock.now();
  const stat = ({ due_in_ms, every_ms }: (typeof tasks)[number], tid: number) => ({
    prio: 0,
    tid,
    state: 0,
    stkuse: 0,
    stksiz: 0,
    cswcnt: 0,
    runtime: 0,
    last_checkin: Math.max(Math.round(nowMs + due_in_ms - every_ms), 0),
    next_checkin: Math.max(Math.round(nowMs + due_in_ms), 0),
  });
  return { tasks: Object.fromEntries(tasks.map((task, tid) => [task.name, stat(task, tid)])) };
}
