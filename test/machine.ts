import { spawnSync } from "node:child_process";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { findWatchdogs, type LinuxWatchdog } from "../agent/io/linuxwatchdog.ts";
import { temporaryFolder } from "./children.ts";

/** A machine's sys, dev and proc, as far as watchdogs go. */
export class Machine {
  readonly root = temporaryFolder();

  constructor() {
    for (const folder of ["sys/class/watchdog", "dev", "proc/self"]) {
      mkdirSync(this.at(folder), { recursive: true });
    }
  }

  at(path: string): string {
    return join(this.root, path);
  }

  write(path: string, text: string): void {
    mkdirSync(dirname(this.at(path)), { recursive: true });
    writeFileSync(this.at(path), `${text}\n`);
  }

  /** As the kernel has it: the class entry is a link, and `status` must not be read. */
  add(name: string, bus: string, attributes: Record<string, string>): string {
    const folder = `sys/devices/${bus}/watchdog/${name}`;
    for (const [attribute, text] of Object.entries(attributes)) {
      this.write(`${folder}/${attribute}`, text);
    }
    mkdirSync(this.at(folder), { recursive: true });
    // Whoever reads it waits for ever, and the test with him.
    spawnSync("mkfifo", [this.at(`${folder}/status`)]);
    symlinkSync(`../../devices/${bus}/watchdog/${name}`, this.at(`sys/class/watchdog/${name}`));
    this.write(`dev/${name}`, "");
    return this.at(`dev/${name}`);
  }

  /** The module behind a class entry, by the links that the kernel makes. */
  drive(bus: string, name: string, module: string): void {
    const entry = `sys/devices/${bus}/watchdog/${name}`;
    mkdirSync(this.at(`sys/bus/drivers/${module}`), { recursive: true });
    symlinkSync(this.at(`sys/devices/${bus}`), this.at(`${entry}/device`));
    symlinkSync(this.at(`sys/bus/drivers/${module}`), this.at(`sys/devices/${bus}/driver`));
    symlinkSync(this.at(`sys/module/${module}`), this.at(`sys/bus/drivers/${module}/module`));
  }

  hold(pid: number, name: string, path: string): void {
    this.write(`proc/${pid}/comm`, name);
    mkdirSync(this.at(`proc/${pid}/fd`));
    symlinkSync("/dev/null", this.at(`proc/${pid}/fd/0`));
    symlinkSync(path, this.at(`proc/${pid}/fd/7`));
  }

  find(): LinuxWatchdog[] {
    return findWatchdogs(this.at("sys"), this.at("dev"), this.at("proc"));
  }
}

/** Attributes as Linux 6.12 shows them on q35. */
export const i6300esb = {
  bootstatus: "32",
  fw_version: "0",
  identity: "i6300ESB timer",
  max_timeout: "2046",
  min_timeout: "1",
  nowayout: "0",
  options: "0x8180",
  pretimeout: "0",
  state: "inactive",
  timeout: "30",
};
export const softdog = {
  ...i6300esb,
  bootstatus: "0",
  identity: "Software Watchdog",
  max_timeout: "65535",
};
export const itco = {
  ...i6300esb,
  identity: "iTCO_wdt",
  max_timeout: "0",
  min_timeout: "0",
  nowayout: "1",
  state: "active",
  timeleft: "19",
};
