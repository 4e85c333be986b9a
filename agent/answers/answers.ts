/** What the agent answers to each command, from its heads. */
import type { Agent } from "../agent.ts";
import { Failure } from "../errors.ts";
import type { Handlers } from "../heads/host.ts";
import type { Finding } from "../machines/doctor.ts";
import { contractVersion, type ResponseOf, type WatchdogState } from "../wire/commands.ts";
import { cutTexts } from "../wire/shape.ts";
import { reportAnswers } from "./reports.ts";
import { standardAnswers } from "./standard.ts";
import { tagsOf } from "./tags.ts";
import { teeAnswers } from "./tee.ts";

/** The table of handlers; a command that is not in it answers `rc` 8. */
export function answers(agent: Agent): Handlers {
  return {
    ...standardAnswers(agent),
    ...fitting({
      "card.hello": () => hello(agent),
      "card.status": () => status(agent),
      "card.protection": () => agent.protection.report(),
      "card.readiness": () => agent.readiness(),
      "card.doctor": ({ from = 0 }) => doctor(agent, from),
      "boot.timeline": () => agent.boot.timeline(),
      "boot.timelines": ({ skip = 0 }) => agent.boot.timelines(skip),
      "boot.history": () => agent.boot.history(),
      "boot.counters": () => agent.boot.counters(),
      "boot.record": () => agent.boot.handOffReport(),
      "wdt.probe": () => agent.watchdog.probe(),
      "wdt.state": () => agent.watchdog.status(),
      "wdt.tasks": () => agent.watchdog.tasks(),
      "wdt.plan": () => agent.protection.plan(),
      ...watchdogChanges(agent),
      ...teeAnswers(agent.tee),
      ...reportAnswers(agent),
      "access.session": (request, line) => agent.access.session(request, line),
      "access.status": () => agent.access.status(),
      "access.take": (request, line, actor) => agent.access.take(request, line, actor),
      "access.release": (_request, line, actor) => agent.access.release(line, actor),
      ...(Object.keys(agent.io.faults).length > 0 ? rig(agent) : {}),
    }),
  };
}

/** What drivers, loaders and firmware say can be longer than a reader takes. */
function fitting(handlers: Handlers): Handlers {
  type Answer = (...asked: unknown[]) => unknown;
  const fitted = Object.entries(handlers).map(([name, answer]) => {
    return [name, (...asked: unknown[]) => cutTexts((answer as Answer)(...asked))];
  });
  return Object.fromEntries(fitted) as Handlers;
}

function watchdogChanges(agent: Agent): Handlers {
  const { watchdog, io, config } = agent;
  const now = (): number => io.clock.now();
  return {
    "wdt.arm": ({ promise_ms = config.runtime.promiseMs }): WatchdogState => {
      watchdog.send({ kind: "arm", atMs: now(), promiseMs: promise_ms });
      return watchdog.status();
    },
    "wdt.disarm": ({ by = "host" }) => {
      watchdog.send({ kind: "disarm", atMs: now(), by });
      if (watchdog.isArmed) {
        const message = "the device cannot be stopped: it stays armed, and is refreshed as before";
        throw new Failure("watchdog.nowayout", message);
      }
      return watchdog.status();
    },
    "wdt.hold": ({ for_ms, by = "host" }) => {
      watchdog.send({ kind: "hold", atMs: now(), forMs: for_ms, by });
      return watchdog.status();
    },
    "wdt.check_in": ({ task }) => {
      watchdog.send({ kind: "check_in", atMs: now(), task });
      return {};
    },
  };
}

function hello(agent: Agent): ResponseOf<"card.hello"> {
  const { judgement } = agent.watchdog;
  const simulated = judgement.backend === "simulated";
  return {
    name: agent.config.name,
    version: agent.config.version,
    contract: contractVersion,
    device: agent.device,
    boot: agent.boot.id,
    uptime_ms: Math.round(agent.io.clock.now()),
    simulated,
    tags: tagsOf(agent),
  };
}

function status(agent: Agent): ResponseOf<"card.status"> {
  const watchdog = agent.watchdog.status();
  const { entry } = agent.boot;
  const { past, failures } = agent.boot.journal.value;
  const own = agent.ledger.boots().find(({ boot }) => boot === agent.boot.id);
  const slot = entry?.slot ?? "a";
  return {
    version: agent.config.version,
    boot: agent.boot.id,
    now_ms: watchdog.now_ms,
    stage: entry?.stage ?? "adopt",
    slot,
    confirmed: agent.boot.isConfirmed,
    ready: agent.readiness().ready,
    backend: watchdog.backend,
    protected: watchdog.protected,
    protection: watchdog.protection,
    access: agent.config.access.policy,
    watchdog,
    tee: agent.tee.status(),
    last_cause: past.at(-1)?.cause ?? "unknown",
    failures: slot === "safe" ? 0 : failures[slot],
    reports: {
      last_seq: own?.lastSeq ?? 0,
      pending: agent.ledger.pending.length,
      dropped: agent.ledger.boots().reduce((sum, { dropped }) => sum + dropped, 0),
      subscribed: agent.host.lines.some(({ subscriber }) => subscriber !== null),
    },
    journal: agent.degraded() === null ? "ok" : "degraded",
  };
}

/** Findings in one answer: 3 of at most 500 bytes fit a packet of 2048. */
const findingsPerAnswerMax = 3;

function doctor(agent: Agent, from: number): ResponseOf<"card.doctor"> {
  const found = [...agent.io.examine(), controlsFound(agent.controls.describe())];
  const findings = found.slice(from, from + findingsPerAnswerMax).map((finding) => {
    // Of foreign files: a character is a byte, so that what fits by count fits the packet.
    const cut = (text: string): string =>
      text.replace(/[^\x20-\x7e]/g, "?").slice(0, findingCharactersMax);
    return { ...finding, found: cut(finding.found), next: cut(finding.next) };
  });
  return { findings, more: from + findings.length < found.length };
}

const findingCharactersMax = 200;

/** What a confirmed boot clears on this platform, as it stands. */
function controlsFound(told: readonly string[]): Finding {
  const found = told.length === 0 ? "none: nothing is pending in firmware" : told.join("; ");
  return { name: "boot_control", ok: true, found, next: "" };
}

function rig(agent: Agent): Handlers {
  const { faults } = agent.io;
  return {
    "rig.inject": ({ fault, for_ms = 0 }) => {
      const inject = faults[fault];
      if (inject === undefined) {
        const known = Object.keys(faults).join(", ");
        throw new Failure("usage.invalid", `no fault named ${fault}; there are ${known}`);
      }
      agent.inject(fault, () => inject(for_ms));
      return {};
    },
    "rig.faults": () => ({ faults: Object.keys(faults) }),
  };
}
