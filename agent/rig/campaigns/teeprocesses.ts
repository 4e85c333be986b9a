/**
 * Lives in real time on the twin's process: it is killed with -9, as are the helpers, while calls
 * are inside. What really was executed is read from the witness that the twin keeps.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TeeAnswer } from "../../heads/tee.ts";
import type { CallClass } from "../../machines/teecalls.ts";
import type { Random } from "../../sim/random.ts";
import { simCommand } from "../../sim/teemodel.ts";
import { type Hits, hold, promises } from "./teelives.ts";
import { TwinLife } from "./twinlife.ts";

const services = ["keystore", "face", "seal"];
/** While calls and blows come, ms. */
const busyMs = 600;
/** Short enough for a campaign, long enough for processes that start on a busy machine. */
const config = {
  callLateMs: 500,
  callMaxMs: 15_000,
  canaryEveryMs: 300,
  canaryLateMs: 700,
  suspectMs: 1_500,
  backoffMs: [0, 100],
  // The machine that this runs on is no card: that a restart came late says nothing of the TEE.
  cardReset: false,
};
/** Added to what a call may take: the two milliseconds between ticks, and a busy machine. */
const slackMs = 2_000;

interface Call {
  readonly id: number;
  readonly what: string;
  readonly class: CallClass;
  readonly answers: { readonly answer: TeeAnswer; readonly tookMs: number }[];
}

/** Where the built programs are. */
export async function processLife(random: Random, hits: Hits, dist: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "kennel-campaign-"));
  const life = new TwinLife({ dist, folder, services, config, timesBy: 0.1 });
  try {
    await life.ready();
    const calls = await trouble(life, random, hits);
    const isOver = (): boolean => ["ready", "degraded"].includes(life.head.state.kind);
    await life.until("settled", () => isOver() && life.head.status().in_flight === 0, 60_000);
    hits.set("twin's restarts", (hits.get("twin's restarts") ?? 0) + life.twin.restartsMs.length);
    hits.set("on the process", (hits.get("on the process") ?? 0) + 1);
    check(calls, witnessed(folder), life.config.replaysMax);
  } finally {
    life.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function trouble(life: TwinLife, random: Random, hits: Hits): Promise<Call[]> {
  const calls: Call[] = [];
  const waits: Promise<void>[] = [];
  const later = (act: () => void): void => {
    waits.push(
      new Promise((resolve) => {
        life.clock.at(life.clock.now() + random.int(busyMs), () => {
          act();
          resolve();
        });
      }),
    );
  };
  for (let count = random.range(20, 60); count > 0; count--) {
    const service = random.pick(services);
    const { count: counting, store, slow, read } = simCommand;
    const command = random.pick([counting, store, read, slow]);
    const of = random.pick(["idempotent", "keyed", "once"] as const);
    later(() => {
      const startMs = life.clock.now();
      const call: Call = {
        id: calls.length + 1,
        what: `${service}#${command} ${of}`,
        class: of,
        answers: [],
      };
      calls.push(call);
      life.head.call(service, command, of, (answer) => {
        call.answers.push({ answer, tookMs: life.clock.now() - startMs });
      });
    });
  }
  const blow = (name: string, act: () => void): void =>
    later(() => {
      hits.set(name, (hits.get(name) ?? 0) + 1);
      act();
    });
  blow("kill -9 of the TEE OS", () => life.twin.kill());
  if (random.chance(0.4)) blow("kill -9 of the TEE OS", () => life.twin.kill());
  if (random.chance(0.4)) {
    blow("kill -9 of a helper", () => {
      const pid = life.helpers.findLast((helper) => !helper.isGone)?.pid ?? null;
      if (pid !== null) process.kill(pid, "SIGKILL");
    });
  }
  await Promise.all(waits);
  // The last of the verdicts: whoever has none by then has been lost.
  const endMs = life.clock.now() + config.callMaxMs + slackMs;
  const isAnswered = (): boolean => calls.every(({ answers }) => answers.length > 0);
  while (!isAnswered() && life.clock.now() < endMs) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return calls;
}

/** How often each call was executed, by its number, in all lives of the TEE OS. */
function witnessed(folder: string): ReadonlyMap<number, number> {
  const path = join(folder, "witness");
  const lines = existsSync(path) ? readFileSync(path, "utf8").split("\n").slice(0, -1) : [];
  const executed = new Map<number, number>();
  for (const line of lines) {
    const [service = "", , number] = line.split(" ");
    // The canary's calls have numbers of their own.
    if (!services.includes(service)) continue;
    const call = Number(number);
    executed.set(call, (executed.get(call) ?? 0) + 1);
  }
  return executed;
}

function check(
  calls: readonly Call[],
  executed: ReadonlyMap<number, number>,
  replaysMax: number,
): void {
  for (const { id, what, class: of, answers } of calls) {
    const name = `call ${id} ${what}`;
    hold(answers.length === 1, promises.verdict, `${name} has ${answers.length} verdicts`);
    const [{ answer, tookMs }] = answers as [Call["answers"][number]];
    const isInTime = tookMs <= config.callMaxMs + slackMs;
    hold(isInTime, promises.verdict, `${name}: after ${tookMs.toFixed(0)} ms`);
    const times = executed.get(id) ?? 0;
    const { verdict, outcome } = answer;
    const said = `${name}: ${verdict}, executed ${times} times`;
    const isGood = outcome?.errno === null && outcome.ret === 0;
    hold(of === "idempotent" ? times <= 1 + replaysMax : times <= 1, promises.once, said);
    if (of !== "idempotent" && isGood) hold(times === 1, promises.told, said);
    if (of !== "idempotent" && verdict === "unavailable") hold(times === 0, promises.told, said);
  }
}
