/** Linux's own TEE driver: with OP-TEE below it, and with nothing. */
import { type Code, exitCodes, policy } from "../../errors.ts";
import { teeConfig } from "../../machines/teeconfig.ts";
import { supplicantRun } from "../opteerig.ts";
import { AgentEnded, bootMs, expect, untilAnswers } from "../rig.ts";
import { applications } from "../secureworld.ts";
import { type Story, story } from "../story.ts";
import type { TeeAsk, TeeRig, TeeSaid } from "../teerig.ts";

type TeeStory = Story<TeeRig>;

/** Commands of the application (test/fixtures/optee/application.c). */
const command = {
  echo: 0,
  count: 1,
  panic: 2,
  wait: 3,
  spin: 4,
  badAddress: 5,
  applied: 7,
} as const;

const settings = {
  device: "/dev/tee0",
  services: ["single", "shared"],
  applications: [
    { service: "single", uuid: applications.single, query_command: command.applied },
    { service: "shared", uuid: applications.shared, query_command: command.applied },
  ],
  supplicant: { stop: ["killall", "tee-supplicant"], start: supplicantRun.split(" ") },
  driver: { unload: ["rmmod", "optee"], load: ["insmod", "/modules/optee.ko"] },
};
const targetDead = "ffff3024/3";

const readyMs = 120_000;
const canary: TeeAsk = { operation: { kind: "canary" } };

/** A call in short: `class service command input`. */
function call(line: string): TeeAsk {
  const [callClass, service = "", name, input] = line.split(" ");
  const number = command[name as keyof typeof command] ?? Number(name);
  return {
    service,
    command: number,
    class: callClass as "once",
    ...(input === undefined ? {} : { input }),
  };
}

/** A duration as the application reads it. */
function milliseconds(ms: number): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(ms);
  return bytes.toString("hex");
}

function states(rig: TeeRig): string[] {
  return rig.said.flatMap(({ state }) => state ?? []);
}

function events(rig: TeeRig, kind: string): NonNullable<TeeSaid["event"]>[] {
  return rig.said.flatMap(({ event }) => (event?.kind === kind ? [event] : []));
}

async function ready(rig: TeeRig): Promise<void> {
  const isReady = (): true | undefined => (states(rig).at(-1) === "ready" ? true : undefined);
  await rig.until("TEE that is ready", isReady, readyMs);
}

async function restored(rig: TeeRig, count: number): Promise<void> {
  const isThere = (): true | undefined =>
    events(rig, "tee:restored").length >= count ? true : undefined;
  await rig.until(`restore ${count}`, isThere, readyMs);
  await ready(rig);
}

/** A card with a TEE, and a program whose sessions are open. */
async function called(rig: TeeRig): Promise<void> {
  await rig.card({ secureWorld: true, driver: true, supplicant: true });
  await rig.caller(settings);
  await ready(rig);
}

async function ask(rig: TeeRig, request: TeeAsk): Promise<NonNullable<TeeSaid["answer"]>> {
  return (await rig.answer(rig.send(request))).answer ?? {};
}

/** Asks, and expects these members of the answer. */
async function heard(rig: TeeRig, request: TeeAsk, wanted: object): Promise<void> {
  const answer = await ask(rig, request);
  const isSo = Object.entries(wanted).every(([name, value]) => answer[name] === value);
  const told = JSON.stringify({ request, answer, wanted });
  expect(isSo, told);
}

const answered = (value: number): object => ({ verdict: "answered", ret: 0, origin: 4, value });

async function absent(rig: TeeRig): Promise<void> {
  await rig.card({ secureWorld: false, driver: true, supplicant: false });
  const loaded = await rig.run("ls -d /sys/module/tee /sys/module/optee /sys/class/tee");
  expect(loaded.status === 0, loaded.text);
  const made = await rig.run("ls /dev/tee* /sys/class/tee/*");
  expect(made.status !== 0, made.text);
  // The driver's numbers are taken, and nothing answers to them.
  const node = "major=$(awk '$2 == \"tee\" {print $1}' /proc/devices); mknod /tmp/tee c $major 0";
  const opened = await rig.run(`${node} && cat /tmp/tee`);
  expect(/No such device or address/.test(opened.text), opened.text);
  for (const options of ["--tee prefer", "--tee /dev/tee0"]) {
    await rig.agent(options);
    const state = await rig.ask("tee.state", {});
    expect(state.state === "absent" && state.sessions.length === 0, JSON.stringify(state));
    const { tee } = await rig.ask("card.protection", {});
    expect(tee.state === "absent" && !tee.weak, JSON.stringify(tee));
    await rig.stopAgent();
  }
  const words = "no /dev/tee0: the driver optee is loaded and has found no TEE";
  const end = await rig.agent("--tee require").catch((error: unknown) => error);
  expect(end instanceof AgentEnded, `the agent runs without the TEE that it requires: ${end}`);
  expect(end.message.includes(words), end.message);
  expect(end.message.includes(`agent ended ${exitOf("tee.missing")}`), end.message);
  const again = await rig.run("rmmod optee && insmod /modules/optee.ko && rmmod optee");
  expect(again.status === 0, again.text);
}

async function unloaded(rig: TeeRig): Promise<void> {
  await rig.card({ secureWorld: true, driver: false, supplicant: false });
  const end = await rig.agent("--tee require").catch((error: unknown) => error);
  expect(end instanceof AgentEnded, `the agent runs without a driver: ${end}`);
  expect(end.message.includes("no TEE driver is loaded on this card"), end.message);
}

async function found(rig: TeeRig): Promise<void> {
  await rig.card({ secureWorld: true, driver: true, supplicant: false });
  await rig.agent("--tee /dev/tee0");
  const endMs = rig.now() + aliveMs;
  while (rig.now() < endMs) {
    const { state, simulated, crashes, epoch } = await rig.ask("tee.state", {});
    const isWell = state === "ready" && !simulated && crashes === 0 && epoch === 1;
    expect(isWell, `state ${state}, ${crashes} crashes, epoch ${epoch}`);
    await rig.wait(lookEveryMs);
  }
  const helpers = await rig.run("ps | grep -c '[k]ennel-tee.cjs /dev/tee0'");
  expect(/^2$/m.test(helpers.text), helpers.text);
}
/** Three proofs of life and more. */
const aliveMs = 18_000;
const lookEveryMs = 1_000;

async function calls(rig: TeeRig): Promise<void> {
  await called(rig);
  const { facts } = rig.said.find((said) => said.facts !== undefined) ?? {};
  expect(facts?.simulated === false && facts.usable === true, JSON.stringify(facts));
  // The list of OP-TEE's devices, by the application that has it.
  await heard(rig, canary, { errno: null, ret: 0, origin: 4 });
  await heard(rig, call("idempotent single echo 00ff10"), { ...answered(1), output: "00ff10" });
  await heard(rig, call("idempotent single echo"), { ...answered(2), output: "" });
  await heard(rig, call("keyed single count"), answered(1));
  await heard(rig, call("keyed single count"), answered(2));
  const refused = { verdict: "answered", ret: notSupported, origin: 4 };
  await heard(rig, call("once single 99"), refused);
  const wait = await rig.answer(rig.send(call(`once shared wait ${milliseconds(2_000)}`)));
  expect(Number(wait.tookMs) >= 2_000, JSON.stringify(wait));
  expect(events(rig, "tee:crashed").length === 0, JSON.stringify(rig.said));
  const words = await rig.secureWords();
  expect(/OP-TEE version/.test(words) || words.length > 0, "the secure world said nothing");
}
const notSupported = 0xffff_000a;

/** How often its one instance was called: that outlives clients, sessions and the driver. */
async function sharedCalls(rig: TeeRig): Promise<number> {
  const { verdict, value } = await ask(rig, call("idempotent shared echo"));
  expect(verdict === "answered" && typeof value === "number", `${verdict}, value ${value}`);
  return value;
}

async function panics(rig: TeeRig): Promise<void> {
  await called(rig);
  const before = await sharedCalls(rig);
  await heard(rig, call("once single panic"), { verdict: "outcome_unknown" });
  await restored(rig, 1);
  const [crash] = events(rig, "tee:crashed");
  const isNamed = crash?.code === targetDead && crash.trigger === `single#${command.panic}`;
  expect(isNamed && crash.rung === "session", JSON.stringify(crash));
  // A new instance of the one, and the same one of the other.
  await heard(rig, call("idempotent single echo"), answered(1));
  expect((await sharedCalls(rig)) === before + 1, "the other one is not what it was");
  await heard(rig, call("once shared badAddress"), { verdict: "outcome_unknown" });
  await restored(rig, 2);
  await heard(rig, call("idempotent shared echo"), answered(1));
  await heard(rig, canary, { errno: null, ret: 0 });
  expect(events(rig, "tee:escalated").length === 0, JSON.stringify(events(rig, "tee:escalated")));
}

async function supplicant(rig: TeeRig): Promise<void> {
  await called(rig);
  await heard(rig, call("keyed single count"), answered(1));
  const killed = await rig.run("killall -9 tee-supplicant");
  expect(killed.status === 0, killed.text);
  // Without a supplicant the call waits in the driver; with the next one it is done.
  const waiting = rig.send(call("keyed single count"));
  await rig.wait(goneMs);
  expect(!rig.said.some(({ id }) => id === waiting), "storage was had without a supplicant");
  await heard(rig, canary, { errno: null, ret: 0 });
  expect((await rig.run(supplicantRun)).status === 0, "no supplicant");
  const { answer } = await rig.answer(waiting);
  expect(answer?.verdict === "answered" && answer.value === 2, JSON.stringify(answer));
  const restart: TeeAsk = { operation: { kind: "restart", rung: "supplicant" } };
  await heard(rig, restart, { errno: null, ret: 0 });
  await heard(rig, call("keyed single count"), answered(3));
}
const goneMs = 3_000;

/** The agent cannot start one here: it can only see that nobody has. */
async function lateSupplicant(rig: TeeRig): Promise<void> {
  await rig.card({ secureWorld: true, driver: true, supplicant: false });
  const { supplicant: _none, ...tee } = settings;
  await rig.agent("--tee /dev/tee0", { tee });
  const { openMaxMs } = teeConfig([]);
  const endMs = rig.now() + 2 * openMaxMs;
  while (rig.now() < endMs) {
    const { state, crashes, epoch } = await rig.ask("tee.state", {});
    expect(state === "restore_tee" && crashes === 0, `state ${state}, ${crashes} crashes`);
    expect(epoch === 1, `epoch ${epoch}`);
    await rig.wait(lookEveryMs);
  }
  expect((await rig.run(supplicantRun)).status === 0, "no supplicant");
  await agentReady(rig);
  const { crashes, epoch, sessions } = await rig.ask("tee.state", {});
  const isWell = crashes === 0 && epoch === 1 && sessions.every(({ open }) => open);
  expect(isWell, JSON.stringify({ crashes, epoch, sessions }));
  expect(rig.expiries.length === 0, "the watchdog expired");
}

async function agentReady(rig: TeeRig): Promise<void> {
  const endMs = rig.now() + readyMs;
  for (;;) {
    const { state } = await rig.ask("tee.state", {});
    if (state === "ready") return;
    expect(rig.now() < endMs, `state ${state}`);
    await rig.wait(lookEveryMs);
  }
}

async function reloads(rig: TeeRig): Promise<void> {
  await called(rig);
  const before = await sharedCalls(rig);
  const busy = await rig.run("rmmod optee");
  expect(busy.status !== 0, "a driver in use was unloaded");
  expect((await sharedCalls(rig)) === before + 1, "a refused unloading did harm");
  const reattach: TeeAsk = { operation: { kind: "reattach" } };
  await rig.run("sleep 1000 </dev/tee0 & holder=$!");
  await heard(rig, reattach, { errno: "EAGAIN" });
  const told = events(rig, "tee:provider").map(({ because }) => String(because));
  expect(
    told.some((because) => /held by pid \d+ \(sleep/.test(because)),
    told.join("; "),
  );
  await rig.run("kill $holder");
  await heard(rig, reattach, { errno: null, ret: 0 });
  await heard(rig, canary, { errno: null, ret: 0 });
  // The sessions went with the driver; the instance that is kept alive did not.
  const replayed = { verdict: "replayed", ret: 0, value: before + 2 };
  await heard(rig, call("idempotent shared echo"), replayed);
}

async function helperKilled(rig: TeeRig): Promise<void> {
  await called(rig);
  const inside = rig.send(call(`once single wait ${milliseconds(insideMs)}`));
  await rig.wait(insideMs / 4);
  const killed = await rig.run("kill -9 $(ps | awk '/[k]ennel-tee.cjs/ {print $1}')");
  expect(killed.status === 0, killed.text);
  const { answer } = await rig.answer(inside);
  expect(answer?.verdict === "outcome_unknown", JSON.stringify(answer));
  await restored(rig, 1);
  await heard(rig, call("idempotent single echo"), answered(1));
  const codes = events(rig, "tee:crashed").map(({ code }) => code);
  expect(
    codes.every((code) => code === "EOWNERDEAD"),
    codes.join(),
  );
}
const insideMs = 8_000;

async function corePanic(rig: TeeRig): Promise<void> {
  await rig.card({ secureWorld: true, driver: true, supplicant: true });
  await rig.agent("--tee /dev/tee0");
  await rig.caller(settings);
  await ready(rig);
  const before = await rig.ask("card.status", {});
  expect(rig.expiries.length === 0, "the watchdog expired");
  rig.send(call(`once single spin ${milliseconds(spinMs)}`));
  await rig.wait(1_000);
  // What was said until now, by applications that panicked, is out of the way.
  await rig.secureWords();
  const askedMs = rig.now();
  const { remaining_ms, promise_ms } = await rig.ask("wdt.state", {});
  await rig.panicTeeOs();
  const panickedMs = rig.now();
  const expiredMs = await rig.until("expiry of the watchdog", () => rig.expiries[0], bootMs);
  const words = await rig.secureWords();
  const hasPanicked = /Core prefetch-abort at address/.test(words) && /Panic '/.test(words);
  expect(hasPanicked, `the TEE OS did not panic: ${words.slice(-2_000)}`);
  // It expired when its time since the last refresh was over: not before, and no refresh came.
  const leftMs = askedMs + Number(remaining_ms) - expiredMs;
  expect(leftMs < tickMs, `the watchdog had ${leftMs.toFixed()} ms left`);
  const silentMs = expiredMs - panickedMs;
  const isInTime = silentMs < promise_ms + slackMs;
  expect(isInTime, `it expired ${silentMs.toFixed()} ms after the panic, of ${promise_ms} ms`);
  const resetMs = await rig.until("reset", () => rig.resets[0], bootMs);
  expect(resetMs >= expiredMs, "the card was reset before the watchdog expired");
  await untilAnswers(rig);
  const after = await rig.ask("card.status", {});
  const isNew = after.boot !== before.boot && after.last_cause === "watchdog";
  expect(isNew, `boot ${after.boot}, cause ${after.last_cause}`);
  await agentReady(rig);
}
const spinMs = 60_000;
/** The watchdog's own grain, ms. */
const tickMs = 1_000;
/** How late an event of QEMU's may be heard on a busy machine, ms. */
const slackMs = 3_000;

function exitOf(code: Code): number {
  return exitCodes[policy[code].exit];
}

const secure = { rows: ["A3-13"], needs: ["secure_world"] } as const;

export const opteeStories: readonly TeeStory[] = [
  story("a driver that finds no TEE is told as that", { rows: ["A3-01"] }, absent),
  story("a TEE whose driver is not loaded is told as that", secure, unloaded),
  story("a real TEE is found, and proves its life", secure, found),
  story("calls into a real TEE come back with what it said", secure, calls),
  story("an application that panics is opened again, and no other", secure, panics),
  story("a supplicant that dies is waited for, and is restarted", secure, supplicant),
  story("a supplicant that comes late is waited for", secure, lateSupplicant),
  story("a driver in use is not unloaded, and a free one is", secure, reloads),
  story("a TEE OS that panics is a reset by the watchdog, and is used again", secure, corePanic),
  story("a helper killed inside a real TEE is outlived", secure, helperKilled),
];
