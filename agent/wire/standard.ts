/**
 * The standard groups of SMP, to the letter: their success maps hold exactly the standard keys, as
 * clients refuse any other (Zephyr, doc/services/device_mgmt/smp_groups).
 */
import { command, packetBytesMax } from "./command.ts";
import { bool, int, list, map, optional, record, text, textOf, uint } from "./shape.ts";

const none = map({});
/** Echo gives back whatever a packet holds. */
const packetText = textOf(packetBytesMax);
const taskStat = map({
  prio: uint,
  tid: uint,
  state: uint,
  stkuse: uint,
  stksiz: uint,
  cswcnt: uint,
  runtime: uint,
  last_checkin: uint,
  next_checkin: uint,
});

export const standardCommands = {
  "os.echo": command(0, 0, "either", map({ d: packetText }), map({ r: packetText })),
  "os.taskstat": command(0, 2, "read", none, map({ tasks: record(taskStat) })),
  "os.datetime": command(0, 4, "read", none, map({ datetime: text })),
  "os.reset": command(
    0,
    5,
    "write",
    map({ force: optional(int), boot_mode: optional(uint) }),
    none,
    "danger",
  ),
  "os.params": command(0, 6, "read", none, map({ buf_size: uint, buf_count: uint })),
  "os.info": command(0, 7, "read", map({ format: optional(text) }), map({ output: text })),
  "os.bootloader": command(
    0,
    8,
    "read",
    map({ query: optional(text) }),
    map({ bootloader: optional(text), mode: optional(int) }),
  ),
  "enumeration.count": command(10, 0, "read", none, map({ count: uint })),
  "enumeration.list": command(10, 1, "read", none, map({ groups: list(uint, 64) })),
  "enumeration.one": command(
    10,
    2,
    "read",
    map({ index: optional(uint) }),
    map({ group: uint, end: optional(bool) }),
  ),
  "enumeration.details": command(
    10,
    3,
    "read",
    map({ groups: optional(list(uint, 64)) }),
    map({
      groups: list(map({ group: uint, name: optional(text), handlers: optional(uint) }), 64),
    }),
  ),
} as const;
