"""Writes test/vectors/reports.json: golden messages of the report group.

    python3 test/independent/reportvectors.py          prints it
    python3 test/independent/reportvectors.py --check  exit status 1 where the file differs
"""

import hashlib
import sys

from vectors import FILE, V2, exchange, vector, write

DEVICE = "9c1f00d2a7e4b863"
BOOT = "3-1f2e3d4c"
TEXT = b"kennel crash record 1\ncause: watchdog\nstage: runtime, step ready\n"
DIGEST = hashlib.sha256(TEXT).hexdigest()
NAME = "reset-3-1f2e3d4c.txt"


def error(name, op, command, request, rc):
    vector(f"{name}: request", True, (V2, op, 68, 9, command, request))
    err = {"err": {"group": 68, "rc": rc}}
    vector(f"{name}: refusal", True, (V2, op + "_response", 68, 9, command, err))


def reports():
    exchange("subscribe behind a state", "write", 68, 0,
             {"for_ms": 30000, "boot": BOOT, "since": 41},
             {"device": DEVICE, "boot": BOOT, "last_seq": 43, "pending": 12, "for_ms": 30000})
    report = {"boot": BOOT, "seq": 42, "at_ms": 90500, "kind": "wdt:pre_reset", "class": "safety",
              "data": {"cause": "commanded", "culprit": "host", "deadline_ms": 100500,
                       "reset_in_ms": 10000}}
    vector("a report with its device, pushed", True,
           (V2, "read_response", 68, 0, 4, {"device": DEVICE, **report}))
    exchange("read", "read", 68, 3, {"boot": BOOT, "since": 41},
             {"device": DEVICE, "reports": [report], "more": False})
    exchange("snapshot with drops by class", "read", 68, 5, {},
             {"boots": [{"boot": BOOT, "last_seq": 43, "acknowledged": 30, "dropped": 5,
                         "dropped_safety": 1}], "pending": 8})


def state():
    exchange("state, first block", "read", 68, 6, {},
             {"device": DEVICE, "boot": BOOT, "seq": 43, "off": 0, "total": 1030,
              "data": bytes(at * 7 & 255 for at in range(1024))})
    exchange("state, last block", "read", 68, 6, {"off": 1024, "seq": 43},
             {"device": DEVICE, "boot": BOOT, "seq": 43, "off": 1024, "total": 1030,
              "data": b"abcdef"})
    error("state that is not kept", "read", 6, {"off": 1024, "seq": 40}, 5)


def crashes():
    exchange("crash records", "read", 68, 7, {},
             {"crashes": [{"name": NAME, "about": "reset", "boot": BOOT, "bytes": len(TEXT),
                           "sha256": DIGEST}]})
    exchange("a block of a crash record", "read", 68, 8, {"name": NAME, "off": 22},
             {"off": 22, "total": len(TEXT), "data": TEXT[22:]})
    error("a second block at once", "read", 8, {"name": NAME}, 10)
    exchange("crash record confirmed", "write", 68, 9, {"name": NAME, "sha256": DIGEST}, {})
    error("crash record confirmed by another digest", "write", 9,
          {"name": NAME, "sha256": "0" * 64}, 9)


def resets():
    exchange("no reset is coming", "read", 68, 10, {}, {"coming": False, "now_ms": 90000})
    coming = {"coming": True, "now_ms": 91000, "cause": "commanded", "culprit": "host",
              "deadline_ms": 100500, "latest_ms": 160500, "holds": 0, "acknowledged": False}
    exchange("a reset is coming", "read", 68, 10, {}, coming)
    exchange("reset acknowledged", "write", 68, 11, {}, {**coming, "acknowledged": True})
    exchange("reset held", "write", 68, 12, {"for_ms": 30000, "by": "rack7"},
             {**coming, "deadline_ms": 121000, "holds": 1})
    error("held too often", "write", 12, {"for_ms": 1}, 10)
    error("acknowledged without any", "write", 11, {}, 5)


if __name__ == "__main__":
    sys.exit(write(FILE.with_name("reports.json"), (reports, state, crashes, resets)))
