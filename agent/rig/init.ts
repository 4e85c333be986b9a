/**
 * The guest's first process: mounts what Linux needs, loads the modules in their order, mounts the
 * disk that survives resets, and runs `main`. Everything it says starts with `guest:`.
 */

/** Lines that the init script prints on the console, for the host to wait for. */
export const said = {
  init: "guest: init",
  ready: "guest: ready",
  failed: "guest: failed",
  ended: "guest: main ended with status",
} as const;

/** Memory that the kernel leaves alone: what it writes when it crashes outlives a reset. */
export const crashMemory = { address: "0x10000000", bytes: "0x100000" } as const;

/** Where things are inside the guest. */
export const places = {
  /** The files given to `prepareGuest`. */
  app: "/app",
  /** The modules, and the order of loading them. */
  modules: "/modules",
  /**
   * On the state disk, hidden from `rm *`: shell text that loads the watchdog's driver. Where it
   * is absent, i6300esb is loaded.
   */
  driver: "/state/.driver",
  /** The disk that survives resets. */
  state: "/state",
} as const;

/** What every init of a guest begins with. */
export const beginning = `export PATH=/bin HOME=/root
fail() { echo "${said.failed}: $*"; sync; poweroff -f; }
/bin/busybox mkdir -p /proc /sys /dev /tmp /run /root ${places.state}
/bin/busybox --install -s /bin
# There is no init to ask for an orderly reboot.
rm /bin/reboot
printf '#!/bin/sh\\nsync; exec busybox reboot -f\\n' >/bin/reboot
chmod +x /bin/reboot
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
echo "${said.init}"`;

/**
 * `load NAME OPTION...` loads a set of modules; the options are for the module of that name, and
 * $WATCHDOG_CORE for the watchdog core below it.
 *
 * `main` is shell text, run in /app with /dev/console as its output. When it ends, the guest is
 * powered off, so that a program that gave up is seen at once instead of at the next deadline.
 */
export function initScript(main: string): string {
  return `#!/bin/busybox sh
${beginning}
load() {
  wanted=$1
  shift
  for module in $(cat "${places.modules}/$wanted.order"); do
    [ -d "/sys/module/$module" ] && continue
    options=
    [ "$module" = watchdog ] && options=$WATCHDOG_CORE
    [ "$module" = "$wanted" ] && options=$*
    insmod "${places.modules}/$module.ko" $options || fail "insmod $module $options"
  done
}
load base
mount -t ext4 /dev/vda ${places.state} || fail "mount ${places.state}"
if grep -q memmap= /proc/cmdline; then
  load ramoops mem_address=${crashMemory.address} mem_size=${crashMemory.bytes} record_size=0x10000
  mount -t pstore pstore /sys/fs/pstore
fi
if [ -f ${places.driver} ]; then . ${places.driver}; else load i6300esb; fi
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
