/**
 * What a card with real firmware boots: a small initrd, because the firmware reads every byte of
 * it, and a disk with node and the programs under test.
 */
import fs from "node:fs";
import path from "node:path";
import { runOrFail } from "./command.ts";
import { cpio, type Entry, fileEntry } from "./cpio.ts";
import { openPackages } from "./debian.ts";
import { filesOf, modulesOf } from "./guest.ts";
import { beginning, places, said } from "./init.ts";
import { fetchKernel } from "./kernel.ts";
import type { Machine } from "./machines.ts";
import { fetchPrograms } from "./programs.ts";

export interface UefiGuestOptions {
  readonly machine: Machine;
  /** Kept between runs, such as `.cache/guest`. */
  readonly cacheFolder: string;
  /** Its files become the guest's /app. */
  readonly appFolder: string;
  /** boot/linux of the project. */
  readonly hookFolder: string;
  /** Shell text that the guest runs in /app when everything is mounted. */
  readonly main: string;
  readonly intoFolder: string;
}

/** Paths on the host. */
export interface UefiGuest {
  readonly kernel: string;
  readonly initrd: string;
  /** Read-only ext4 with node, its libraries and the programs under test. */
  readonly programs: string;
}

const toolMs = 60_000;
/** Room for file system structures. */
const spareBytes = 32 * 1024 * 1024;

export async function prepareUefiGuest(options: UefiGuestOptions): Promise<UefiGuest> {
  const { machine, intoFolder, appFolder } = options;
  const packages = await openPackages(path.join(options.cacheFolder, machine.arch), machine);
  const kernel = await fetchKernel(packages, machine);
  const programs = await fetchPrograms(packages, machine);
  const isBusybox = ({ name }: Entry): boolean => name === "bin/busybox";
  const initrd = path.join(intoFolder, "initrd");
  const init = Buffer.from(uefiInit(options.main, machine));
  const entries: Entry[] = [
    ...programs.filter(isBusybox),
    ...modulesOf(kernel),
    fileEntry("boot-hook.sh", path.join(options.hookFolder, "boot-hook.sh"), 0o755),
    { kind: "file", name: "init", bytes: init, mode: 0o755 },
  ];
  fs.writeFileSync(initrd, Buffer.concat(cpio(entries)));
  const disk = path.join(intoFolder, "programs.img");
  const app = filesOf(appFolder, places.app.slice(1));
  await makeProgramsDisk(disk, [...programs.filter((one) => !isBusybox(one)), ...app]);
  return { kernel: kernel.image, initrd, programs: disk };
}

async function makeProgramsDisk(disk: string, entries: readonly Entry[]): Promise<void> {
  const folder = fs.mkdtempSync(`${disk}-`);
  try {
    let bytes = spareBytes;
    for (const entry of entries) {
      const file = path.join(folder, entry.name);
      fs.mkdirSync(path.dirname(file), { recursive: true });
      if (entry.kind === "link") fs.symlinkSync(entry.target, file);
      if (entry.kind !== "file") continue;
      fs.writeFileSync(file, entry.bytes, { mode: entry.mode });
      bytes += entry.bytes.length;
    }
    fs.writeFileSync(disk, "");
    fs.truncateSync(disk, bytes);
    const args = ["-q", "-F", "-O", "^has_journal", "-d", folder, disk];
    await runOrFail("mkfs.ext4", args, { deadlineMs: toolMs, from: "e2fsprogs" });
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

/** Followed by the hand-off record as hexadecimal digits. */
export const handOffSaid = "guest: hand-off";
const efivars = "/sys/firmware/efi/efivars";
/** A store of variables has 528 kB at the most; more of them are not needed to fill it. */
const fillersMax = 70;
const fillerBytes = 8000;
const damagedRecord = "/tmp/hand-off";

/**
 * As the guest's other init, and before that: the hook, and what the fault of this boot asks for.
 * $HAND_OFF is what the agent is to be told of the record.
 */
function uefiInit(main: string, { port }: Machine): string {
  return `#!/bin/busybox sh
${beginning}
export PORT=${port}
mkdir -p /etc/kennel /programs
stay() { echo "guest: $*"; while :; do sleep 1000; done; }
load() {
  for module in $(cat "${places.modules}/$1.order"); do
    case " $without " in *" $module "*) continue ;; esac
    [ -d "/sys/module/$module" ] || insmod "${places.modules}/$module.ko" || fail "insmod $module"
  done
}
disk() {
  for entry in /sys/block/vd*; do
    [ "$(cat "$entry/serial")" = "$1" ] && echo "/dev/\${entry##*/}"
  done
}
word() { sed -n "s/.*kennel[.]$1=\\([a-zA-Z_0-9]*\\).*/\\1/p" /proc/cmdline; }
without=
fault=$(word fault)
load base
load efivarfs
mount -t efivarfs efivarfs ${efivars}
load efi_pstore
mount -t pstore pstore /sys/fs/pstore
record=$(echo ${efivars}/KennelHandOff-*)
[ -f "$record" ] && echo "${handOffSaid} $(tail -c +5 "$record" | hexdump -v -e '1/1 "%02x"')"
if [ "$fault" = full_store ]; then
  for count in $(seq 1 ${fillersMax}); do
    { printf '\\007\\000\\000\\000'; head -c ${fillerBytes} /dev/zero; } >/tmp/filler
    file="${efivars}/Filler$count-\${record##*/KennelHandOff-}"
    dd if=/tmp/filler of="$file" bs=16384 count=1 2>/dev/null || break
  done
  echo "guest: store is full after $count"
fi
[ "$fault" = initramfs_hangs ] && stay hangs
[ "$fault" = no_driver ] && stay has no driver
if [ "$(word hook)" = no ]; then
  load "$(word driver)"
else
  # The hook loads what it decides about; what that needs is loaded before.
  [ "$(word driver)" = none ] || without="watchdog $(word driver)" load "$(word driver)"
  printf 'insmod_from=${places.modules}\\nadopt_within=%s\\n' "$(word adopt)" >/etc/kennel/boot.conf
  sh /boot-hook.sh || stay "is stopped by the hook"
  sed 's/^/hook: /' /run/kennel/boot-hook
fi
[ "$fault" = kernel_panics ] && echo c >/proc/sysrq-trigger
[ "$fault" = no_agent ] && stay has no agent
mount -t ext4 -o ro "$(disk programs)" /programs || fail mount programs
mount -t ext4 "$(disk state)" ${places.state} || fail mount state
for name in bin/node bin/chrt lib lib64 app; do ln -s "/programs/$name" "/$name"; done
if [ "$fault" = damaged_record ]; then
  tail -c +5 "$record" >${damagedRecord}
  printf x | dd of=${damagedRecord} bs=1 seek=40 conv=notrunc 2>/dev/null
  export HAND_OFF="--hand-off ${damagedRecord}"
fi
cd ${places.app} || fail "no ${places.app}"
echo "${said.ready}"
(
${main}
)
echo "${said.ended} $?"
sync
poweroff -f
`;
}
