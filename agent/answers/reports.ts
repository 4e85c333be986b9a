/** What the agent answers to the report group: reports, its state, crash records, resets. */
import type { Agent } from "../agent.ts";
import { Failure } from "../errors.ts";
import type { Handlers, Line } from "../heads/host.ts";
import { encodeMap } from "../wire/cbor.ts";
import { packetBytesMax } from "../wire/command.ts";
import type { Report, ResponseOf } from "../wire/commands.ts";
import { blockBytesMax } from "../wire/reports.ts";

/** Reports in one answer, and the most bytes they take: the rest is for what stands around them. */
const reportsPerAnswerMax = 16;
const reportBytesMax = packetBytesMax - 160;

/** A state that a line is being given, block by block. */
interface Taken {
  readonly boot: string;
  readonly seq: number;
  readonly bytes: Uint8Array;
}

export function reportAnswers(agent: Agent): Handlers {
  const { ledger, crashes } = agent;
  const states = new WeakMap<Line, Taken>();
  const blocks = new WeakSet<Line>();
  return {
    "report.subscribe": ({ for_ms, boot, since }, line) => {
      // What is counted as made is on disk: nobody is told of a report that a power cut takes.
      ledger.flush();
      const after = boot === undefined ? null : { boot, seq: since ?? 0 };
      const granted = agent.host.subscribe(line, for_ms, after);
      const pending = ledger.pending.length;
      const last_seq = lastSeq(agent);
      return { device: agent.device, boot: agent.boot.id, last_seq, pending, for_ms: granted };
    },
    "report.unsubscribe": (_request, line) => {
      line.subscriber = null;
      return {};
    },
    "report.acknowledge": ({ boot, seq }, line) => {
      const pending = ledger.acknowledge(boot, seq);
      line.subscriber?.acknowledged(agent.io.clock.now());
      return { pending };
    },
    "report.read": ({ boot, since = 0, max = reportsPerAnswerMax }) => {
      ledger.flush();
      const found = ledger.after(boot, since);
      const some = asManyAsFit(found.slice(0, Math.min(max, reportsPerAnswerMax)));
      return { device: agent.device, reports: some, more: some.length < found.length };
    },
    "report.snapshot": () => ({
      boots: ledger.boots().map(({ boot, lastSeq, acknowledged, dropped, droppedSafety }) => {
        return { boot, last_seq: lastSeq, acknowledged, dropped, dropped_safety: droppedSafety };
      }),
      pending: ledger.pending.length,
    }),
    "report.state": ({ off = 0, seq }, line) => {
      const taken = off === 0 ? take(agent) : states.get(line);
      if (taken === undefined || (off > 0 && seq !== taken.seq)) {
        const message = `no state as of report ${seq ?? "of no number"} is kept: begin with off 0`;
        throw new Failure("report.stale", message);
      }
      states.set(line, taken);
      return { device: agent.device, ...blockOf(taken, off) };
    },
    "report.crashes": () => ({ crashes: crashes.list() }),
    "report.crash": ({ name, off = 0 }, line) => {
      // An urgent report waits for one block at the most: no second one is put before it.
      if (blocks.has(line) && line.port.waitingBytes > 0) {
        throw new Failure("queue.full", "the block before has not left yet: ask again");
      }
      const total = crashes.sizeOf(name);
      const data = crashes.read(name, off, blockBytesMax);
      blocks.add(line);
      return { off: Math.min(off, total), total, data };
    },
    "report.crash_confirm": ({ name, sha256 }) => {
      crashes.confirm(name, sha256);
      agent.emit({ kind: "crash:confirmed", record: name });
      return {};
    },
    ...resetAnswers(agent),
  };
}

function resetAnswers(agent: Agent): Handlers {
  const { resets } = agent;
  return {
    "report.reset": () => resets.report(),
    "report.reset_acknowledge": (_request, line) => {
      resets.acknowledge(line);
      return resets.report();
    },
    "report.reset_hold": ({ for_ms, by = "host" }, line) => {
      resets.hold(line, for_ms, by);
      return resets.report();
    },
  };
}

function lastSeq({ ledger, boot }: Agent): number {
  return ledger.boots().find((count) => count.boot === boot.id)?.lastSeq ?? 0;
}

/** The first of them, as many as fit one answer; one alone always does. */
function asManyAsFit(reports: readonly Report[]): Report[] {
  let bytes = 0;
  const end = reports.findIndex((report) => {
    bytes += encodeMap(report).length;
    return bytes > reportBytesMax;
  });
  return reports.slice(0, end < 0 ? reports.length : Math.max(end, 1));
}

/** As of the last report made, which is on disk then as are all before it. */
function take(agent: Agent): Taken {
  agent.ledger.flush();
  const { boot, seq } = agent.state;
  return { boot, seq, bytes: encodeMap(agent.state) };
}

function blockOf(
  { boot, seq, bytes }: Taken,
  off: number,
): Omit<ResponseOf<"report.state">, "device"> {
  const data = bytes.subarray(off, off + blockBytesMax);
  return { boot, seq, off: Math.min(off, bytes.length), total: bytes.length, data };
}
