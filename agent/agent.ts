/**
 * The agent: events in, one at a time, through one bounded queue; the heads decide and perform;
 * what is worth knowing goes to the ring, the ledger and the host.
 */
import type { AgentIo } from "./agentio.ts";
import { answers } from "./answers/answers.ts";
import { Files } from "./answers/files.ts";
import { makeFile } from "./answers/filetree.ts";
import { RuntimeSettings } from "./answers/settings.ts";
import type { AgentConfig } from "./config.ts";
import { CrashStore } from "./crashstore.ts";
import { Broken, Failure } from "./errors.ts";
import { type AgentEvent, EventRing, eventClass, queueMax } from "./events.ts";
import { AccessHead } from "./heads/access.ts";
import { ApplicationsHead } from "./heads/applications.ts";
import { BootHead } from "./heads/boot.ts";
import { BootControls } from "./heads/bootcontrols.ts";
import { HostHead, type Line } from "./heads/host.ts";
import { PostMortem } from "./heads/postmortem.ts";
import { ProtectionHead } from "./heads/protection.ts";
import type { ReadinessHead } from "./heads/readiness.ts";
import { Resets, resetDelayMs } from "./heads/resets.ts";
import { ShortLives } from "./heads/shortlives.ts";
import { Supervision } from "./heads/supervision.ts";
import { TeeHead } from "./heads/tee.ts";
import { TeeMemory } from "./heads/teememory.ts";
import { WatchdogHead } from "./heads/watchdog.ts";
import type { Port } from "./io/port.ts";
import { Ledger } from "./ledger.ts";
import { beginning, fold } from "./machines/cardstate.ts";
import type { TeeConfig } from "./machines/teeconfig.ts";
import { readinessHead } from "./readinessparts.ts";
import type { CardState } from "./wire/cardstate.ts";
import type { ResponseOf } from "./wire/commands.ts";

type Input =
  | { kind: "bytes"; line: Line; bytes: Uint8Array }
  | { kind: "closed"; line: Line; cause: string }
  | { kind: "check_in"; task: string }
  | { kind: "call"; act: () => void }
  | { kind: "wake" };

export class Agent {
  readonly io: AgentIo;
  readonly settings: RuntimeSettings;
  readonly files: Files;
  readonly ring = new EventRing();
  readonly boot: BootHead;
  readonly watchdog: WatchdogHead;
  readonly tee: TeeHead;
  readonly applications: ApplicationsHead;
  readonly host: HostHead;
  readonly controls: BootControls;
  readonly ready: ReadinessHead;
  readonly ledger: Ledger;
  readonly protection: ProtectionHead;
  /** The most inputs that waited at a time. */
  readonly peaks = { queue: 0 };
  private readonly lives: ShortLives;
  readonly resets: Resets;
  readonly crashes: CrashStore;
  /** What the reports of this boot add up to. */
  state: CardState;
  readonly access: AccessHead;
  private readonly teeMemory: TeeMemory;
  private readonly postMortem: PostMortem;
  private readonly supervision: Supervision;
  private readonly queue: Input[] = [];
  private deviceId: string | null = null;
  private draining = false;
  private stopping = false;
  private cancelWake: () => void = () => undefined;
  private wakeMs = Infinity;

  /** Looks at everything and touches nothing that counts; a Failure when it may not go on. */
  constructor(io: AgentIo, given: AgentConfig) {
    this.io = io;
    this.settings = new RuntimeSettings(io.disk, given);
    this.files = new Files(io.clock, (name) => makeFile(this, name));
    const { config } = this;
    const emit = (event: AgentEvent): void => this.emit(event);
    this.resets = new Resets(this, emit, () => {
      this.stopping = true;
    });
    this.postMortem = new PostMortem(this, emit);
    this.supervision = new Supervision(io.supervisor, emit);
    this.boot = new BootHead(io, config, emit);
    this.watchdog = new WatchdogHead(
      {
        clock: io.clock,
        watchdog: io.watchdog,
        problem: io.watchdogProblem,
        noteCulprit: (culprit) => this.boot.noteClosing("watchdog", culprit),
        clearCulprit: () => {
          this.boot.clearClosing();
          this.resets.takeBack();
        },
        lastWords: (culprit, refreshedMs, deadlineMs) => {
          this.resets.speakLast({ cause: "watchdog", culprit, refreshedMs, deadlineMs });
        },
        emit,
      },
      config,
    );
    this.boot.open(this.watchdog.bootStatus);
    this.lives = new ShortLives(this.boot, this.watchdog);
    this.crashes = new CrashStore(io.disk, io.sha256);
    this.ledger = new Ledger(io.disk, this.boot.id);
    this.state = beginning(this.boot.id);
    const machine = io.platform.machineBootId();
    this.teeMemory = new TeeMemory(io.disk, machine, config.tee, io.clock.now());
    this.tee = this.teeHead(io, config.tee);
    this.applications = new ApplicationsHead(io, config, this.tee, this.boot.id, emit);
    this.controls = new BootControls(io.controls, emit);
    this.ready = readinessHead(this, config, (culprit) => this.resets.withhold(culprit));
    this.protection = new ProtectionHead(this, emit);
    const device = (): string => this.device;
    const card = { name: config.name, boot: this.boot.id, device };
    this.access = new AccessHead({ ...io, emit }, config.access, card);
    const { access, ledger } = this;
    this.host = new HostHead({ clock: io.clock, ledger, device, emit, access }, answers(this));
  }

  /** The settings in effect. */
  get config(): AgentConfig {
    return this.settings.config;
  }

  /** Takes over the watchdog and begins to work. */
  start(): void {
    this.settings.tell((event) => this.emit(event));
    const { epoch, crashes: tee_crashes } = this.tee.status();
    this.boot.tell({ epoch, tee_crashes, crash_records: this.crashes.count });
    const words = this.resets.heard();
    if (words !== null) this.emit(words);
    this.boot.start();
    this.access.start();
    const { leftMs, refreshedAgoMs, found } = this.watchdog;
    this.lives.start(
      (event) => this.emit(event),
      (culprit) => this.resets.withhold(culprit),
    );
    // Arming set the counter anew: one that shows the same as before does not count at all.
    const isFrozen = this.watchdog.leftMs === leftMs;
    this.boot.adopted(isFrozen ? null : leftMs, found);
    this.boot.tellUnobserved(isFrozen ? null : refreshedAgoMs);
    this.resets.tellRecovered();
    this.tee.start();
    this.boot.noteTold();
    // The first reports reach the disk in the next turn: the card is guarded as of now.
    this.io.clock.at(this.io.clock.now(), () => this.post({ kind: "wake" }));
  }

  /** Serves a serial line from now on; `lost` is told when it is gone. */
  attach(port: Port, lost: (cause: string) => void = () => undefined): void {
    const line = this.host.attach(port);
    port.onData((bytes) => this.post({ kind: "bytes", line, bytes }));
    port.onClose((cause) => {
      this.post({ kind: "closed", line, cause });
      lost(cause);
    });
  }

  /** A task says that it is alive. */
  checkIn(task: string): void {
    this.post({ kind: "check_in", task });
  }

  /** Performs `act` in its turn, as one input: for outcomes that come from outside. */
  call(act: () => void): void {
    this.post({ kind: "call", act });
  }

  /** Answers a reset command, once; `line`: the one that it came on. */
  reset(by: string, line: Line | null = null): void {
    this.call(() => this.resets.command(by, line));
  }

  /** Injects a fault of the rig group once the answer has left. */
  inject(fault: string, act: () => void): void {
    this.emit({ kind: "rig:fault", fault });
    this.io.clock.at(this.io.clock.now() + resetDelayMs, act);
  }

  /**
   * Ends the agent with the watchdog left counting: stopping never disarms. `isShutdown`: the whole
   * machine is known to be going down; else what ends this boot is still to come.
   */
  stop(isShutdown: boolean): void {
    const cause = this.boot.noteStop(isShutdown, this.watchdog.checkedInMs);
    this.emit({ kind: "agent:stopping", cause });
    this.supervision.stop();
    this.applications.stop();
    this.stopping = true;
    this.cancelWake();
    this.ready.stop();
    this.flush();
    this.watchdog.close();
    for (const line of this.host.lines.slice()) line.port.close();
  }

  /** What tells this card from others; asked of the platform when it is first needed. */
  get device(): string {
    this.deviceId ??= this.config.deviceId ?? this.io.platform.deviceId();
    return this.deviceId;
  }

  /** What must hold before the boot is confirmed, and whether it does. */
  readiness(): ResponseOf<"card.readiness"> {
    return this.ready.report(this.boot.isConfirmed);
  }

  /** Why writes do not reach the disk; null while they do. */
  degraded(): string | null {
    const { boot, ledger, teeMemory, settings } = this;
    return boot.journal.degraded ?? ledger.degraded ?? teeMemory.degraded ?? settings.degraded;
  }

  private teeHead(io: AgentIo, config: TeeConfig): TeeHead {
    const { clock, tee } = io;
    const memory = this.teeMemory;
    return new TeeHead(
      {
        clock,
        tee,
        post: (act) => this.call(act),
        emit: (event) => this.emit(event),
        keep: (history) => memory.keep(history, clock.now()),
        saveContext: (context) => memory.saveContext(context),
        loadContext: () => memory.loadContext(),
        notify: (services, available) => this.applications.notify(services, available),
        withhold: () => this.resets.withhold("tee"),
        keyPrefix: this.boot.id,
      },
      config,
      memory.history,
    );
  }

  /** Something happened: the ring, and where it is worth it the ledger, have it from now on. */
  emit(event: AgentEvent): void {
    const atMs = this.io.clock.now();
    this.ring.add(atMs, event);
    this.postMortem.note(event);
    const worth = eventClass[event.kind];
    if (worth === "trace") return;
    const { kind, ...data } = event;
    this.state = fold(this.state, this.ledger.add(atMs, kind, worth, data));
  }

  private post(input: Input): void {
    if (this.stopping) return;
    if (this.queue.length >= queueMax) {
      this.emit({ kind: "link:bad", problem: `queue full: ${input.kind} refused` });
      return;
    }
    this.queue.push(input);
    this.peaks.queue = Math.max(this.peaks.queue, this.queue.length);
    if (!this.draining) this.drain();
  }

  /** One input at a time; then what is due; then the disk; then the host; then sleep. */
  private drain(): void {
    this.draining = true;
    const beganMs = this.io.clock.now();
    try {
      for (let input = this.queue.shift(); input !== undefined; input = this.queue.shift()) {
        this.take(input);
      }
      this.tick();
      this.flush();
      this.supervision.speak(this.io.clock.now(), () => this.watchdog.isWell);
      this.host.pump();
      this.host.stoodStill(this.io.clock.now() - beganMs);
      this.sleep();
    } catch (error) {
      this.fail(error);
    } finally {
      this.draining = false;
    }
  }

  private take(input: Input): void {
    switch (input.kind) {
      case "bytes":
        return this.answer(input.line, input.bytes);
      case "closed":
        return this.host.detach(input.line, input.cause);
      case "check_in":
        return this.watchdog.checkIn(input.task);
      case "call":
        return input.act();
      default:
        return;
    }
  }

  /**
   * A line is hostile: whatever it makes go wrong in answering is told and does not end the guard.
   * Only a broken belief does.
   */
  private answer(line: Line, bytes: Uint8Array): void {
    try {
      this.host.received(line, bytes);
    } catch (error) {
      if (error instanceof Broken) throw error;
      const what = error instanceof Error ? error.message : String(error);
      this.io.log(`defect in answering a request: ${what}`);
      this.emit({ kind: "agent:defect", what });
    }
  }

  private tick(): void {
    const nowMs = this.io.clock.now();
    this.tee.tick(nowMs);
    this.applications.tick(nowMs);
    this.watchdog.tick(nowMs);
    this.boot.tick(nowMs);
    this.lives.tick();
    this.protection.tick();
    this.access.tick(nowMs);
    this.supervision.tick();
    this.ready.tick(nowMs);
  }

  private flush(): void {
    // Before the reports and the notes after which nobody would write it any more.
    this.postMortem.flush();
    const before = this.ledger.degraded;
    this.ledger.flush();
    // After the reports: what the record says was told must have reached the disk first.
    this.boot.journal.flush();
    if (this.ledger.degraded === null) this.resets.lastWords.clear();
    for (const drops of this.ledger.takeDrops()) this.emit({ kind: "report:dropped", ...drops });
    const problem = this.ledger.degraded;
    if (problem !== null && before === null) this.emit({ kind: "journal:degraded", problem });
  }

  /** One timer, at the earliest thing that is due. */
  private sleep(): void {
    const dueMs = Math.min(
      this.watchdog.dueMs,
      this.tee.dueMs,
      this.applications.dueMs,
      this.boot.dueMs,
      this.host.dueMs,
      this.access.dueMs,
      this.supervision.dueMs,
      this.ready.dueMs,
    );
    if (dueMs === this.wakeMs) return;
    this.cancelWake();
    this.wakeMs = dueMs;
    if (dueMs === Infinity) return;
    this.cancelWake = this.io.clock.at(dueMs, () => {
      this.wakeMs = Infinity;
      this.host.stoodStill(this.io.clock.now() - dueMs);
      this.post({ kind: "wake" });
    });
  }

  /**
   * A broken belief is a defect: note it as the cause, refresh no more, and let the hardware do
   * its work. Anything else is a defect as well, and is treated the same.
   */
  private fail(error: unknown): void {
    const what = error instanceof Error ? error.message : String(error);
    this.io.log(`kenneld stops refreshing: ${what}`);
    if (!(error instanceof Failure) && !(error instanceof Broken)) this.io.log(String(error));
    this.stopping = true;
    this.cancelWake();
    this.resets.giveUp();
    this.flush();
    try {
      this.host.pump();
    } catch {
      // The line may be where the defect is; the reports are on disk.
    }
    // Nobody would end an agent that stands still on a card without a watchdog.
    if (!this.watchdog.isArmed) throw error;
  }
}
