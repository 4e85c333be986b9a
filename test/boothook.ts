/** A scratch root in which boot/linux/boot-hook.sh runs, with a modprobe that only pretends. */
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { temporaryFolder } from "./children.ts";

/** Tests are built to .build/test/unit. */
export const hookFolder = join(__dirname, "../../../boot/linux");
const deadlineMs = 20_000;

/** Shells that the script has to run under; those that are installed here. */
export const shells = [["busybox", "ash"], ["dash"], ["bash", "--posix"]].filter(
  ([program = ""]) => spawnSync(program, ["-c", "exit 0"]).status === 0 || program === "busybox",
);

/** PCI identities as sysfs shows them. */
export const pci = {
  i6300esb: { vendor: "0x8086", device: "0x25ab", class: "0x088000" },
  lpc: { vendor: "0x8086", device: "0x2918", class: "0x060100" },
} as const;

export class HookRoot {
  readonly root = temporaryFolder();

  constructor() {
    for (const folder of ["sys/bus/pci/devices", "sys/class/watchdog", "dev", "proc", "bin"]) {
      mkdirSync(this.at(folder), { recursive: true });
    }
    this.write("proc/uptime", "1.25 0.90\n");
    this.write("log", "");
    this.modprobe("exit 0");
  }

  at(path: string): string {
    return join(this.root, path);
  }

  write(path: string, text: string | Uint8Array): void {
    mkdirSync(dirname(this.at(path)), { recursive: true });
    writeFileSync(this.at(path), text);
  }

  read(path: string): string {
    return readFileSync(this.at(path), "utf8");
  }

  /** `lock`: byte 0x68 of the PCI configuration. */
  addPci(identity: Readonly<Record<string, string>>, lock = 0): void {
    const folder = `sys/bus/pci/devices/0000:00:0${identity.device?.at(-1) ?? 0}.0`;
    for (const [name, text] of Object.entries(identity)) {
      this.write(`${folder}/${name}`, `${text}\n`);
    }
    const config = new Uint8Array(256).fill(0x55);
    config[0x68] = lock;
    this.write(`${folder}/config`, config);
  }

  /** Shell text that a load of a module runs: `$1` is the module, `$*` all; it is logged. */
  modprobe(body: string): void {
    const text = `#!/bin/sh\nROOT=${this.root}\n[ "$1" != -q ] || shift\n`;
    this.write("bin/modprobe", `${text}echo "$*" >>"$ROOT/log"\n${body}\n`);
    chmodSync(this.at("bin/modprobe"), 0o755);
  }

  /** What a driver that registers does, as shell text: 65 ms later there is a node. */
  readonly registers = [
    `echo "1.31 0.90" >"$ROOT/proc/uptime"`,
    `mkdir -p "$ROOT/sys/class/watchdog/watchdog0"`,
    `ln -sf /dev/null "$ROOT/dev/watchdog0"`,
  ].join("\n");

  /** Runs the hook; the record as key and value, and who it left behind. */
  run(shell: readonly string[]): { status: number | null; record: Map<string, string> } {
    const [program = "", ...args] = shell;
    const { status, stderr } = spawnSync(program, [...args, join(hookFolder, "boot-hook.sh")], {
      env: {
        PATH: process.env.PATH,
        KENNEL_ROOT: this.root,
        KENNEL_MODPROBE: this.at("bin/modprobe"),
        KENNEL_INSMOD: this.at("bin/insmod"),
      },
      encoding: "utf8",
      stdio: ["ignore", "ignore", "pipe"],
      timeout: deadlineMs,
    });
    if (stderr !== "") throw new Error(`the hook said: ${stderr}`);
    const path = "run/kennel/boot-hook";
    const lines = existsSync(this.at(path)) ? this.read(path).trim().split("\n") : [];
    const pairs = lines.map((line): [string, string] => {
      const at = line.indexOf("=");
      return [line.slice(0, at), line.slice(at + 1)];
    });
    return { status, record: new Map(pairs) };
  }

  /** What the process has open as `fd`; null when it is gone. */
  descriptor(pid: number, fd: number): string | null {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`);
    } catch {
      return null;
    }
  }

  link(path: string, to: string): void {
    mkdirSync(dirname(this.at(path)), { recursive: true });
    symlinkSync(to, this.at(path));
  }
}
