/** What is typed on the guest's console: shell text that starts, breaks and ends an agent. */
import { places } from "./init.ts";
import type { CardSettings, HangKind, Harm } from "./rig.ts";

/** On the state disk: shell text that starts the agent, also after a reset. */
export const startFile = `${places.state}/start`;
/** Followed by the exit status, on the console, when an agent has ended. */
export const agentEnded = "agent ended";

/**
 * For node, wherever an agent is started for real: garbage is collected without threads to wake.
 * It cannot be set once V8 runs. Node 20 to 24 know it and accept a code cache made without it.
 */
export const nodeOption = "--single-threaded-gc";
/** Starts the agent inside the guest; its options are to follow. */
export const kenneld = `node ${nodeOption} ${places.app}/kenneld.cjs`;

const pidFile = "/tmp/agent";
const group = "/sys/fs/cgroup/kennel";
const addon = `${places.app}/native/*/kennel.node`;
const away = ".away";

/**
 * `agent COMMAND...` runs the agent in a control group of its own, as a service manager would, and
 * comes back when it has its process.
 */
export const shell = `mount -t cgroup2 none /sys/fs/cgroup
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
mkdir -p ${group}
agent() {
  rm -f ${pidFile}
  (
    sh -c 'echo 0 >${group}/cgroup.procs; echo $$ >${pidFile}; exec "$@"' agent "$@"
    echo "${agentEnded} $?"
  ) &
  until [ -s ${pidFile} ]; do sleep 0.1; done
}`;
/** Does what is typed, for ever; `$ended` is how the line before ended (`$?` is that of read). */
export const obey = `while read -r line; do eval "$line"; ended=$?; done`;
/** What the guest runs: the agent once there is one to start, then what is typed. */
export const main = `${shell}
[ -f ${startFile} ] && . ${startFile}
${obey}`;

/** Ends whatever a story left running, and disarms; the state disk is empty but for the driver. */
export const endOfStory = [
  `kill -9 $(cat ${pidFile}) $HELPERS 2>/dev/null`,
  "wait 2>/dev/null",
  "HELPERS=",
  `echo max >${group}/memory.max`,
  `for file in ${addon}${away}; do [ -f $file ] && mv $file \${file%${away}}; done`,
  "[ -c /dev/watchdog ] && echo V >/dev/watchdog",
  `mount -o remount,rw ${places.state}`,
  `rm -rf ${places.state}/*`,
  "sync",
].join("; ");

/** Somebody else opens the watchdog and refreshes it. */
export const holdDevice = [
  "sh -c 'exec 9>/dev/watchdog; while :; do echo >&9; sleep 1; done' &",
  'HELPERS="$HELPERS $!"; sleep 1',
].join(" ");

export const removeAddon = `for file in ${addon}; do mv $file $file${away}; done`;
export const startAgent = `. ${startFile}`;
export const killAgent = `kill -9 $(cat ${pidFile})`;
export const stopAgent = `kill -TERM $(cat ${pidFile})`;

/** Shell text that loads the watchdog's driver as a story wants it. */
export function driverText(settings: CardSettings): string {
  const { device = "i6300esb", noWayOut = false, openTimeoutMs } = settings;
  if (openTimeoutMs === undefined) return `load ${device}${noWayOut ? " nowayout=1" : ""}`;
  const core = `WATCHDOG_CORE=open_timeout=${openTimeoutMs / 1000}`;
  return `${core}; load ${device} heartbeat=${bootHeartbeatMs / 1000}`;
}
/** T1 of a watchdog that the kernel refreshes until the agent opens it, ms. */
export const bootHeartbeatMs = 10_000;

/** Whose keys count, where a story is about that. */
const keysFile = `${places.state}/keys`;

/** Shell text that lets this line of authorized_keys count. */
export function authorise(line: string): string {
  return `umask 022; echo '${line}' >${keysFile}; sync`;
}

/** Shell text that starts the agent as a story wants it, with its UART. */
export function agentText(settings: CardSettings, port: string): string {
  const { promiseMs, hardwareMs, tasks = [], policy = "require" } = settings;
  return [
    `agent ${kenneld} --port ${port} --state ${places.state}/kennel`,
    `--promise ${promiseMs / 1000} --tee simulate --lab --watchdog ${policy}`,
    settings.takesKeys === true ? `--authorized-keys ${keysFile}` : "--access open",
    ...(hardwareMs === undefined ? [] : [`--hardware-max ${hardwareMs / 1000}`]),
    ...tasks.map(({ name, everyMs }) => `--task ${name}=${everyMs / 1000}`),
    ...(settings.allowDisarm === true ? ["--allow-disarm"] : []),
  ].join(" ");
}

/**
 * Shell text for each way to end a card but a blocked loop, which the agent is asked for. Those
 * that the shell itself does not survive are not waited for.
 */
export const hangTexts: Readonly<
  Record<Exclude<HangKind, "loop">, { text: string; answers: boolean }>
> = {
  kill: { text: killAgent, answers: true },
  stop: { text: `kill -STOP $(cat ${pidFile})`, answers: true },
  memory: { text: `echo 1M >${group}/memory.max`, answers: true },
  // Below the refresh thread and above everything else, and nothing is left over for the rest.
  processor: {
    text: "echo -1 >/proc/sys/kernel/sched_rt_runtime_us; chrt -f 5 sh -c 'while :; do :; done' &",
    answers: false,
  },
  disk: { text: `fsfreeze --freeze ${places.state}`, answers: true },
  // Without panic= a kernel that panicked stands still for ever.
  kernel: { text: "echo c >/proc/sysrq-trigger", answers: false },
};

export const harmTexts: Readonly<Record<Harm, string>> = {
  disk_full: `dd if=/dev/zero of=${places.state}/full bs=64k 2>/dev/null; sync; true`,
  device_gone: [
    "for device in /sys/bus/pci/drivers/i6300*/0000:*; do",
    `echo "\${device##*/}" >"\${device%/*}/unbind"; done`,
  ].join(" "),
  busy_processor: [
    "for count in 1 2; do sh -c 'while :; do :; done' &",
    'HELPERS="$HELPERS $!"; done',
  ].join(" "),
};
