/**
 * The standard groups of SMP, to the letter: their success maps hold exactly the standard keys, as
 * clients refuse any other (Zephyr, doc/services/device_mgmt/smp_groups).
 */
import { command, packetBytesMax } from "./command.ts";
import {
  bool,
  bytes,
  either,
  int,
  list,
  map,
  optional,
  record,
  text,
  textOf,
  uint,
} from "./shape.ts";

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
/** `mpools` as in Mynewt, of which Zephyr's document lacks the name. */
const pools = record(map({ blksiz: uint, nblks: uint, nfree: uint, min: uint }));
const groupDetails = map({ group: uint, name: optional(text), handlers: optional(uint) });
const reset = map({ force: optional(either(int, bool)), boot_mode: optional(uint) });

const os = {
  "os.echo": command(0, 0, "either", map({ d: packetText }), map({ r: packetText })),
  "os.taskstat": command(0, 2, "read", none, map({ tasks: record(taskStat) })),
  "os.mpstat": command(0, 3, "read", none, map({ mpools: pools })),
  "os.datetime": command(0, 4, "read", none, map({ datetime: text })),
  "os.set_datetime": command(0, 4, "write", map({ datetime: text }), none),
  "os.reset": command(0, 5, "write", reset, none, "danger"),
  "os.params": command(0, 6, "read", none, map({ buf_size: uint, buf_count: uint })),
  "os.info": command(0, 7, "read", map({ format: optional(text) }), map({ output: packetText })),
  "os.bootloader": command(
    0,
    8,
    "read",
    map({ query: optional(text) }),
    map({ bootloader: optional(text), mode: optional(int) }),
  ),
} as const;

const statistics = {
  "statistics.group": command(
    2,
    0,
    "read",
    map({ name: text }),
    map({ name: text, fields: record(uint) }),
  ),
  "statistics.list": command(2, 1, "read", none, map({ stat_list: list(text, 64) })),
} as const;

/** Names can be longer than any that is known: that has an error of its own. */
const settingName = map({ name: textOf(packetBytesMax) });

const settings = {
  "settings.read": command(
    3,
    0,
    "read",
    map({ name: textOf(packetBytesMax), max_size: optional(uint) }),
    map({ val: bytes, max_size: optional(uint) }),
  ),
  /** Some clients send text for bytes. */
  "settings.write": command(
    3,
    0,
    "write",
    map({ name: textOf(packetBytesMax), val: either(bytes, packetText) }),
    none,
  ),
  "settings.delete": command(3, 1, "write", settingName, none),
  "settings.commit": command(3, 2, "write", none, none),
  /** A read by its operation alone: it puts what is stored into effect. */
  "settings.load": command(3, 3, "read", none, none, "operate"),
  "settings.save": command(3, 3, "write", map({ name: optional(packetText) }), none),
} as const;

const fileName = textOf(packetBytesMax);

const files = {
  "files.read": command(
    8,
    0,
    "read",
    map({ name: fileName, off: uint }),
    map({ off: uint, data: bytes, len: optional(uint) }),
  ),
  /** Refused to everybody: nothing is needed to be told so. */
  "files.write": command(
    8,
    0,
    "write",
    map({ name: fileName, off: uint, data: either(bytes, packetText), len: optional(uint) }),
    map({ off: uint }),
    null,
  ),
  "files.status": command(8, 1, "read", map({ name: fileName }), map({ len: uint })),
  "files.hash": command(
    8,
    2,
    "read",
    map({
      name: fileName,
      type: optional(text),
      off: optional(uint),
      len: optional(uint),
    }),
    map({ type: text, off: optional(uint), len: uint, output: either(uint, bytes) }),
  ),
  "files.hash_types": command(
    8,
    3,
    "read",
    none,
    map({ types: record(map({ format: uint, size: uint })) }),
  ),
  "files.close": command(8, 4, "write", none, none, null),
} as const;

const enumeration = {
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
    map({ groups: list(groupDetails, 64) }),
  ),
} as const;

export const standardCommands = { ...os, ...statistics, ...settings, ...files, ...enumeration };
