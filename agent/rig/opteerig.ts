/** The rig with an emulated arm64 card that has a real TEE: OP-TEE below Linux's own driver. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { Failure } from "../errors.ts";
import { fileEntry } from "./cpio.ts";
import { openGdb } from "./gdb.ts";
import { prepareGuest } from "./guest.ts";
import { endOfStory, kenneld, main, startFile } from "./guestshell.ts";
import { places } from "./init.ts";
import type { Machine } from "./machines.ts";
import { kernelBoard, startGuest } from "./qemu.ts";
import { QemuRig } from "./qemurig.ts";
import { bootMs, type Need, untilAnswers } from "./rig.ts";
import {
  buildSecureWorld,
  type SecureParts,
  type SecureWorld,
  secureBoard,
  secureConsole,
  secureSerial,
} from "./secureworld.ts";
import type { Ran, TeeAsk, TeeRig, TeeSaid } from "./teerig.ts";

/** T2 of the agent, s: on a busy machine an emulated card is not refreshed for ten. */
const promiseS = 30;
/** Longest wait for an answer that nothing is known of, ms: a first opening takes a second. */
const answerMs = 60_000;
const runMs = 60_000;

/** The program that calls the TEE: where the project has it, and the guest. */
const callerBuilt = ".build/test/fixtures/teeguest.cjs";
const callerName = "teeguest.cjs";
const requests = "/tmp/requests";
const callerPid = "/tmp/caller";
const settingsFile = `${places.state}/settings.json`;
export const supplicantRun = "/usr/sbin/tee-supplicant -d";

/** Before a card is used again the programs of the last story end. */
const programsEnd = [
  `kill -9 $(cat ${callerPid}) $holder 2>/dev/null; exec 7>&-; rm -f ${callerPid} ${requests}`,
  "killall -9 tee-supplicant 2>/dev/null",
].join("; ");
/** And so does the driver, as soon as nobody is inside any more. */
const driverEnd = [
  "for try in $(seq 30); do [ -d /sys/module/optee ] || break",
  "rmmod optee 2>/dev/null || sleep 0.5; done",
  "rmmod tee 2>/dev/null; rm -rf /var/lib/optee-client",
].join("; ");

interface Folders {
  readonly project: string;
  readonly logs: string;
}

export class OpteeRig extends QemuRig implements TeeRig {
  override readonly lacks: Readonly<Partial<Record<Need, string>>>;
  /** What the secure world is made of; null where it cannot be had. */
  private readonly parts: SecureParts | null;
  private world: SecureWorld | null = null;
  private isSecure = false;
  private asked = 0;
  /** What has to be done before an agent starts, also after a reset. */
  private atBoot: readonly string[] = [];
  /** How much of the console was of earlier callers. */
  private saidBefore = 0;

  /** `parts`: of the secure world, or why it cannot be had. */
  constructor(machine: Machine, { project, logs }: Folders, parts: SecureParts | string) {
    super(machine, project, logs);
    this.parts = typeof parts === "string" ? null : parts;
    this.lacks = typeof parts === "string" ? { secure_world: parts } : {};
  }

  get said(): readonly TeeSaid[] {
    const news = this.console.slice(this.saidBefore);
    return news.flatMap(({ text }) => (text.startsWith("@ ") ? [heard(text.slice(2))] : []));
  }

  async card(wanted: Parameters<TeeRig["card"]>[0]): Promise<void> {
    await this.plug(false);
    if (this.guest !== null && this.isSecure !== wanted.secureWorld) await this.power(false);
    this.isSecure = wanted.secureWorld;
    if (this.guest === null) await this.powerOn();
    await this.ready();
    for (const end of [programsEnd, endOfStory, driverEnd]) await this.shell(end);
    this.eventsBefore = this.running.events.length;
    this.atBoot = [
      ...(wanted.driver ? ["load optee"] : []),
      ...(wanted.supplicant ? [`pidof tee-supplicant >/dev/null || ${supplicantRun}`] : []),
    ];
    for (const command of this.atBoot) await this.mustShell(command);
  }

  async run(command: string, withinMs = runMs): Promise<Ran> {
    const before = this.console.length;
    const status = await this.shell(command, withinMs);
    const lines = this.console.slice(before).map(({ text }) => text);
    return { status, text: lines.join("\n") };
  }

  async agent(options: string, settings: object = {}): Promise<void> {
    await this.mustShell(`echo '${JSON.stringify(settings)}' >${settingsFile}`);
    const line = [
      `agent ${kenneld} --port ${this.machine.port} --state ${places.state}/kennel`,
      `--promise ${promiseS} --watchdog require --config ${settingsFile} --lab ${options}`,
    ].join(" ");
    const lines = [...this.atBoot, line].join("; ");
    await this.mustShell(`echo '${lines}' >${startFile}; sync`);
    await this.runAgent();
    await this.plug(true);
    await untilAnswers(this);
  }

  async caller(settings: object): Promise<void> {
    this.saidBefore = this.console.length;
    const program = `node ${places.app}/${callerName} '${JSON.stringify(settings)}'`;
    await this.mustShell(`rm -f ${requests}; mkfifo ${requests}`);
    await this.mustShell(`${program} <${requests} & echo $! >${callerPid}; exec 7>${requests}`);
    const isUp = (): true | undefined =>
      this.said.some(({ facts }) => facts !== undefined) ? true : undefined;
    await this.until("program that calls the TEE", isUp, bootMs);
  }

  send(ask: TeeAsk): number {
    this.asked += 1;
    const request = JSON.stringify({ id: this.asked, ...ask });
    this.running.type(`echo '${request}' >&7\n`);
    return this.asked;
  }

  async answer(id: number, withinMs = answerMs): Promise<TeeSaid> {
    const find = (): TeeSaid | undefined => this.said.find((said) => said.id === id);
    return await this.until(`answer to request ${id}`, find, withinMs);
  }

  async panicTeeOs(): Promise<void> {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "kennel-rig-"));
    const door = path.join(folder, "door");
    try {
      await this.monitor(`gdbserver unix:${door},server=on,wait=off`);
      for (let tries = 0; tries < momentsMax; tries++) {
        await this.running.qmp("stop");
        if (secureKernel.test(await this.monitor("info registers"))) {
          // Nothing is there: OP-TEE's own handler finds that it is itself that is wrong.
          const processor = await openGdb(door);
          await processor.setRegister(programCounter, nowhere, 8);
          return await processor.close();
        }
        await this.running.qmp("cont");
        await this.wait(momentMs);
      }
      throw new Failure("rig.fault", "the TEE OS was never seen at work");
    } finally {
      await this.running.qmp("cont");
      await this.monitor("gdbserver none");
      fs.rmSync(folder, { recursive: true });
    }
  }

  private async monitor(line: string): Promise<string> {
    return String(await this.running.qmp("human-monitor-command", { "command-line": line }));
  }

  async secureWords(): Promise<string> {
    if (!this.isSecure) return "";
    const args = { device: secureConsole, size: secureWordsMax };
    return String(await this.running.qmp("ringbuf-read", args));
  }

  protected override async powerOn(): Promise<void> {
    const { machine, project, logFolder, parts } = this;
    if (this.isSecure && parts === null) throw new Failure("rig.fault", "no secure world");
    // One image serves both kinds of card.
    if (parts !== null) {
      const source = path.join(project, "test/fixtures/optee");
      this.world ??= await buildSecureWorld(parts, source, logFolder, machine);
    }
    const caller = fileEntry(`app/${callerName}`, path.join(project, callerBuilt), 0o755);
    this.image ??= await prepareGuest({
      machine,
      cacheFolder: path.join(project, ".cache/guest"),
      appFolder: path.join(project, "dist"),
      main,
      files: [caller, ...(this.world?.files ?? [])],
      intoFolder: logFolder,
    });
    const { image, world } = this;
    const isPlain = !this.isSecure || world === null;
    this.guest = await startGuest({
      image,
      board: isPlain ? kernelBoard(image) : secureBoard(image, world.flash),
      behind: isPlain ? [] : secureSerial,
      logFolder,
    });
  }
}
const secureWordsMax = 65_536;
/** How QEMU shows a processor in a thread of the TEE OS itself: secure, EL1, stack of EL0. */
const secureKernel = /PSTATE=\S+ \S+ S +EL1t/;
const nowhere = 0x10n;
/** GDB's number of it on arm64. */
const programCounter = 32;
const momentsMax = 500;
const momentMs = 13;

function heard(text: string): TeeSaid {
  try {
    return JSON.parse(text) as TeeSaid;
  } catch {
    // The kernel prints between two halves of a line, rarely.
    return {};
  }
}
