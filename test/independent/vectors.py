"""Writes test/vectors/standard.json: golden messages of the standard groups.

    python3 test/independent/vectors.py          prints it
    python3 test/independent/vectors.py --check  exit status 1 where the file differs
"""

import hashlib
import json
import pathlib
import sys
import zlib

import smp

V1, V2 = 0, 1
FILE = pathlib.Path(__file__).parent.parent / "vectors" / "standard.json"
found = []


def plain(value):
    """JSON has no bytes."""
    if isinstance(value, bytes):
        return {"$bytes": value.hex()}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def vector(name, ours, *parts):
    packet = b"".join(smp.message(*part) for part in parts)
    keys = ("version", "op", "group", "seq", "command", "body")
    told = [dict(zip(keys, (*part[:5], plain(part[5])))) for part in parts]
    wire = smp.frame(packet).hex()
    entry = {"name": name, "packet": packet.hex(), "wire": wire, "ours": ours, "messages": told}
    found.append(entry)


def exchange(name, op, group, command, request, response, seq=7, version=V2):
    vector(f"{name}: request", True, (version, op, group, seq, command, request))
    vector(f"{name}: response", True, (version, op + "_response", group, seq, command, response))


def refusal(name, op, group, command, request, rc, v1, rsn, seq=8):
    """The group's own code in version 2, what it is in version 1 with words."""
    vector(f"{name}: request, v2", True, (V2, op, group, seq, command, request))
    answer = op + "_response"
    err = {"err": {"group": group, "rc": rc}}
    vector(f"{name}: refusal, v2", True, (V2, answer, group, seq, command, err))
    vector(f"{name}: refusal, v1", True, (V1, answer, group, seq, command, {"rc": v1, "rsn": rsn}))


def os_group():
    exchange("mpstat", "read", 0, 3, {}, {"mpools": {
        "queue": {"blksiz": 1, "nblks": 256, "nfree": 256, "min": 254},
        "spool": {"blksiz": 512, "nblks": 512, "nfree": 499, "min": 487},
    }})
    counted = {"prio": 120, "tid": 4711, "state": 1, "stkuse": 0, "stksiz": 0, "cswcnt": 90210,
               "runtime": 331, "last_checkin": 0, "next_checkin": 0}
    exchange("taskstat with a thread", "read", 0, 2, {}, {"tasks": {"node/4711": counted}})
    exchange("datetime", "read", 0, 4, {}, {"datetime": "2026-03-04T05:06:07.089"})
    set_to = {"datetime": "2026-03-04T05:06:07.089123+02:00"}
    exchange("datetime set", "write", 0, 4, set_to, {})
    refusal("datetime not set", "read", 0, 4, {}, 4, 5, "its clock says 1970")
    refusal("datetime set fails", "write", 0, 4, set_to, 5, 1, "EPERM")
    exchange("reset by force", "write", 0, 5, {"force": 1}, {})
    exchange("reset by force, as bool", "write", 0, 5, {"force": True, "boot_mode": 0}, {})
    held = {"rc": 10, "rsn": "bench holds this card"}
    vector("reset while held", True, (V2, "write_response", 0, 9, 5, held))
    exchange("info, all fields", "read", 0, 7, {"format": "a"}, {
        "output": "Linux nic7 6.1.0 #1_SMP kenneld-0.1.0 aarch64 aarch64 board Linux"})
    refusal("info, unknown letter", "read", 0, 7, {"format": "sz"}, 2, 3, "no letter z")
    exchange("bootloader mode", "read", 0, 8, {"query": "mode"}, {"mode": 5})
    exchange("bootloader mode unknown", "read", 0, 8, {"query": "mode"}, {"mode": -1})
    refusal("bootloader query", "read", 0, 8, {"query": "x"}, 3, 5, "no answer")


def statistics_group():
    names = ["link", "agent", "boot", "wdt", "tee", "report", "events"]
    exchange("statistics list", "read", 2, 1, {}, {"stat_list": names})
    fields = {"refreshes": 4294967296, "failures": 0, "remaining_ms": 59871}
    exchange("statistics group", "read", 2, 0, {"name": "wdt"}, {"name": "wdt", "fields": fields})
    refusal("statistics of nobody", "read", 2, 0, {"name": "x"}, 2, 5, "no such group")


def settings_group():
    name = "watchdog/pre_reset_s"
    exchange("setting read", "read", 3, 0, {"name": name}, {"val": b"10"})
    less = {"name": name, "max_size": 4096}
    exchange("setting read, size bound", "read", 3, 0, less, {"val": b"10", "max_size": 1024})
    exchange("setting written", "write", 3, 0, {"name": name, "val": b"2.5"}, {})
    exchange("setting written as text", "write", 3, 0, {"name": "name", "val": "nic8"}, {})
    exchange("setting deleted", "write", 3, 1, {"name": name}, {})
    exchange("settings committed", "write", 3, 2, {}, {})
    exchange("settings loaded", "read", 3, 3, {}, {})
    exchange("settings saved", "write", 3, 3, {}, {})
    exchange("settings saved in part", "write", 3, 3, {"name": "watchdog"}, {})
    refusal("setting too long", "read", 3, 0, {"name": "x" * 65}, 2, 3, "65 characters")
    refusal("setting unknown", "read", 3, 0, {"name": "watchdog/x"}, 3, 5, "no setting")
    refusal("setting without a root", "read", 3, 0, {"name": "nvs/x"}, 5, 1, "no setting")
    write = {"name": "watchdog/policy", "val": b"simulate"}
    refusal("setting read-only", "write", 3, 0, write, 6, 1, "read-only")
    refusal("setting kept", "write", 3, 1, {"name": "lab"}, 7, 1, "read-only")
    denied = {"rc": 11, "rsn": "not authorised"}
    vector("setting denied", True, (V2, "write_response", 3, 9, 0, denied))


def file_group():
    content = bytes(index * 7 & 0xFF for index in range(5000))
    log = {"name": "/log", "off": 0}
    chunk = {"off": 0, "data": content[:2000], "len": len(content)}
    exchange("file read, first piece", "read", 8, 0, log, chunk)
    exchange("file read, later piece", "read", 8, 0, {"name": "/log", "off": 4000},
             {"off": 4000, "data": content[4000:]})
    exchange("file read, at its end", "read", 8, 0, {"name": "/log", "off": 5000},
             {"off": 5000, "data": b""})
    exchange("file status", "read", 8, 1, {"name": "/log"}, {"len": len(content)})
    whole = {"type": "crc32", "len": len(content), "output": zlib.crc32(content)}
    exchange("file hash, default", "read", 8, 2, {"name": "/log"}, whole)
    part = {"name": "/log", "type": "sha256", "off": 100, "len": 900}
    digest = hashlib.sha256(content[100:1000]).digest()
    exchange("file hash, sha256 of a part", "read", 8, 2, part,
             {"type": "sha256", "off": 100, "len": 900, "output": digest})
    types = {"crc32": {"format": 0, "size": 4}, "sha256": {"format": 1, "size": 32}}
    exchange("file hash types", "read", 8, 3, {}, {"types": types})
    exchange("file closed", "write", 8, 4, {}, {})
    write = {"name": "/log", "off": 0, "data": b"x", "len": 1}
    vector("file written: response", False, (V2, "write_response", 8, 7, 0, {"off": 1}))
    refusal("file written", "write", 8, 0, write, 15, 1, "read-only")
    refusal("file named badly", "read", 8, 1, {"name": "log"}, 2, 3, "no slash")
    refusal("file missing", "read", 8, 1, {"name": "/x"}, 3, 5, "no file")
    refusal("file is a folder", "read", 8, 1, {"name": "/crash"}, 4, 1, "folder")
    refusal("file offset", "read", 8, 0, {"name": "/log", "off": 5001}, 12, 1, "5000 bytes")
    refusal("file hash type", "read", 8, 2, {"name": "/log", "type": "md5"}, 13, 3, "no md5")
    refusal("file empty", "read", 8, 2, {"name": "/log"}, 16, 1, "empty")


def enumeration_group():
    details = {"groups": [{"group": 3, "name": "settings", "handlers": 4}]}
    exchange("details of one group", "read", 10, 3, {"groups": [3]}, details)
    refusal("group index", "read", 10, 2, {"index": 99}, 4, 1, "12 groups")


def forms():
    """What clients send besides."""
    vector("length 0", False, (V2, "read", 3, 1, 3, b""))
    found[-1]["messages"][0]["body"] = {}
    indefinite = bytes.fromhex("bf646e616d65642f6c6f67636f666600ff")
    vector("indefinite map", False, (V2, "read", 8, 1, 0, indefinite))
    found[-1]["messages"][0]["body"] = {"name": "/log", "off": 0}
    vector("several requests in a packet", False,
           (V2, "read", 2, 1, 1, {}), (V2, "read", 8, 2, 1, {"name": "/log"}),
           (V1, "read", 10, 3, 0, {}))
    ours = {"err": {"group": 66, "rc": 3}}
    vector("refusal of our groups, v2", True, (V2, "write_response", 66, 4, 2, ours))
    asked = {"promise_ms": 1, "rsn": True}
    vector("request that asks for words", False, (V2, "write", 66, 5, 2, asked))
    vector("refusal with words", True, (V2, "write_response", 66, 5, 2, {**ours, "rsn": "no"}))


def write(file, parts):
    """Prints what `parts` have made, or holds it against `file`."""
    for part in parts:
        part()
    text = "[\n" + ",\n".join(json.dumps(entry) for entry in found) + "\n]\n"
    if "--check" not in sys.argv:
        sys.stdout.write(text)
        return 0
    same = file.read_text() == text
    print(f"{len(found)} vectors, {file.name} {'is the same' if same else 'differs'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(write(FILE, (os_group, statistics_group, settings_group, file_group,
                          enumeration_group, forms)))
