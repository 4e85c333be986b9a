// deadline: 400 s
/**
 * The early-userspace hook on Linux in QEMU, whose i6300ESB really resets it: an agent that never
 * comes is not waited for, one that comes takes the device from the holder, and the countdown is
 * not stopped by that.
 */
import { readFileSync } from "node:fs";
import path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { bootEmulatedCard, type RunningCard } from "../../agent/rig/emulated.ts";
import { kenneld } from "../../agent/rig/guestshell.ts";
import { places } from "../../agent/rig/init.ts";
import { pc } from "../../agent/rig/machines.ts";
import { qemuIsHere } from "../../agent/rig/qemu.ts";
import type { Report, ResponseOf } from "../../agent/wire/commands.ts";
import { hookFolder } from "../boothook.ts";
import { unless } from "../children.ts";
import { ask } from "../programs.ts";

const adoptWithinMs = 20_000;
const bootMs = 180_000;
/** How far from its time the reset may be. */
const toleranceMs = 2000;

const script = readFileSync(path.join(hookFolder, "boot-hook.sh")).toString("base64");
const settings = `insmod_from=${places.modules}\\nadopt_within=${adoptWithinMs / 1000}\\n`;
/** The rig's first process has loaded the driver already: the card is to do it with the hook. */
const main = `
rmmod i6300esb
mkdir -p /etc/kennel
printf '${settings}' >/etc/kennel/boot.conf
echo ${script} | base64 -d >/tmp/boot-hook.sh
sh /tmp/boot-hook.sh
sed 's/^/hook: /' /run/kennel/boot-hook
if [ ! -e ${places.state}/came ]; then
  touch ${places.state}/came
  sync
  echo "guest: nobody comes"
  while :; do sleep 1; done
fi
exec ${kenneld} --port ${pc.port} --state ${places.state} --watchdog require --promise 60
`;

let running: RunningCard | undefined;

function card(): RunningCard["guest"] {
  if (running === undefined) throw new Error("there is no card: it did not boot");
  return running.guest;
}

/** When the console said this, once per boot. */
function saidAt(start: string): number[] {
  const lines = card().console.filter(({ text }) => text.startsWith(start));
  return lines.map(({ atMs }) => atMs);
}

function expiries(): number[] {
  const { events } = card();
  return events.filter(({ name }) => name === "WATCHDOG").map(({ atMs }) => atMs);
}

async function nobodyComes(): Promise<void> {
  const story = "hookcard";
  const projectFolder = path.join(__dirname, "../../..");
  running = await bootEmulatedCard({ projectFolder, story, main });
  await card().until("hook that ran", () => saidAt("guest: nobody comes")[0], bootMs);
  const hookMs = saidAt("hook: method=hold")[0] ?? Number.NaN;
  assert.ok(saidAt("hook: holder=").length === 1, "the holder runs");
  const resetMs = await card().until("reset", () => expiries()[0], adoptWithinMs * 3);
  const lateMs = resetMs - hookMs - adoptWithinMs;
  console.log(`\nmeasured hook: reset ${Math.round(lateMs)} ms off the deadline of the agent`);
  assert.ok(Math.abs(lateMs) <= toleranceMs, `${lateMs} ms off`);
}

async function kennel<T>(...words: string[]): Promise<T> {
  const answer = await ask(card().serialPath, ...words);
  if (answer.ok) return answer.data;
  throw new Error(`kennel ${words.join(" ")}: ${JSON.stringify(answer.error)}`);
}

async function theAgentComes(): Promise<void> {
  const readyMs = await card().until("agent", () => saidAt("kenneld ready")[0], bootMs);
  const { reports } = await kennel<{ reports: Report[] }>("reports", "--keep");
  const of = (kind: string) => reports.filter((report) => report.kind === kind).at(-1)?.data;
  assert.is(of("boot:hook")?.method, "hold");
  assert.is(of("boot:hook")?.problem, "");
  const adopted = of("boot:adopted");
  assert.is(adopted?.because, "the hook armed it, firmware did not");
  console.log(`\nmeasured hook: nothing counted for ${adopted?.uncovered_ms} ms of kernel time`);
  const status = await kennel<ResponseOf<"wdt.state">>("wdt", "status");
  assert.ok(status.armed && status.protected);
  // The holder's end closed the device, and the kernel says so; nothing stopped the countdown.
  const lines = card().console.map(({ text }) => text);
  assert.ok(lines.some((text) => /watchdog did not stop/.test(text)));
  const deadlineMs = readyMs + adoptWithinMs * 2 - performance.now();
  const reset = card().until("second reset", () => expiries()[1], Math.max(deadlineMs, 1));
  await reset.then(
    () => assert.unreachable("the agent was reset although it refreshes"),
    () => undefined,
  );
  assert.is(saidAt("kenneld ready").length, 1);
}

const hookCard = suite("hook card");
const why = "boots Linux in QEMU, for two minutes: KENNEL_RIG=qemu npm test";
const onCard = unless(process.env.KENNEL_RIG === "qemu" && qemuIsHere(pc) ? "" : why, hookCard);
hookCard.after(async () => {
  await running?.guest.stop();
});
onCard("A1-17 an agent that never comes is reset at the hook's deadline", nobodyComes);
onCard("A1-16 the agent takes the device from the holder, and it counts on", theAgentComes);

hookCard.run();
