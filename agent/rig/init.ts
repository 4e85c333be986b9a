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

/** Where things are inside the guest. */
export const places = {
  /** The files given to `prepareGuest`. */
  app: "/app",
  /** The modules, named so that sorting is the order of loading. */
  modules: "/modules",
  /** The disk that survives resets. */
  state: "/state",
  /** The UART that the host reaches as the guest's `serialPath`. */
  port: "/dev/ttyS1",
} as const;

/**
 * `main` is shell text, run in /app with /dev/console as its output. When it ends, the guest is
 * powered off, so that a program that gave up is seen at once instead of at the next deadline.
 */
export function initScript(main: string): string {
  return `#!/bin/busybox sh
export PATH=/bin HOME=/root
fail() { echo "${said.failed}: $*"; sync; poweroff -f; }
/bin/busybox mkdir -p /proc /sys /dev /tmp ${places.state} /root
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
echo "${said.init}"
for module in ${places.modules}/*.ko; do
  insmod "$module" || fail "insmod $module"
done
mount -t ext4 /dev/vda ${places.state} || fail "mount ${places.state}"
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
