"""What a strict client takes of a card, and nothing else.

After clients that exist: smpclient refuses any key that its models do not have, takes the next
frame for its answer, and checks the sequence; mcumgr-toolkit has room for lines of 127 bytes and
takes no CR; others read a packet's lines one by one.
"""

import cbor2
import smp

NUMBER = int
TASK = ("prio", "tid", "state", "stkuse", "stksiz", "cswcnt", "runtime", "last_checkin",
        "next_checkin")
POOL = ("blksiz", "nblks", "nfree", "min")

# By (group, command, answer): the keys of success, `?` before those that may be absent.
ANSWERS = {
    (0, 0, "read_response"): {"r": str},
    (0, 0, "write_response"): {"r": str},
    (0, 2, "read_response"): {"tasks": {"*": {key: NUMBER for key in TASK}}},
    (0, 3, "read_response"): {"mpools": {"*": {key: NUMBER for key in POOL}}},
    (0, 4, "read_response"): {"datetime": str},
    (0, 4, "write_response"): {},
    (0, 5, "write_response"): {},
    (0, 6, "read_response"): {"buf_size": NUMBER, "buf_count": NUMBER},
    (0, 7, "read_response"): {"output": str},
    (0, 8, "read_response"): {"?bootloader": str, "?mode": NUMBER},
    (2, 0, "read_response"): {"name": str, "fields": {"*": NUMBER}},
    (2, 1, "read_response"): {"stat_list": [str]},
    (3, 0, "read_response"): {"val": bytes, "?max_size": NUMBER},
    (3, 0, "write_response"): {},
    (3, 1, "write_response"): {},
    (3, 2, "write_response"): {},
    (3, 3, "read_response"): {},
    (3, 3, "write_response"): {},
    (8, 0, "read_response"): {"off": NUMBER, "data": bytes, "?len": NUMBER},
    (8, 1, "read_response"): {"len": NUMBER},
    (8, 2, "read_response"): {"type": str, "?off": NUMBER, "len": NUMBER, "output": (int, bytes)},
    (8, 3, "read_response"): {"types": {"*": {"format": NUMBER, "size": NUMBER}}},
    (8, 4, "write_response"): {},
    (10, 0, "read_response"): {"count": NUMBER},
    (10, 1, "read_response"): {"groups": [NUMBER]},
    (10, 2, "read_response"): {"group": NUMBER, "?end": bool},
    (10, 3, "read_response"): {"groups": [{"group": NUMBER, "?name": str, "?handlers": NUMBER}]},
}
OWN_GROUPS = 64
PUSH = (68, 4, "read_response")
SUBSCRIBE = (68, 0)


class Broken(Exception):
    """A client of this kind would give up here."""


def demand(condition, what):
    if not condition:
        raise Broken(what)


def fits(shape, value, path):
    if isinstance(shape, list):
        demand(isinstance(value, list), f"{path} is no list")
        for item in value:
            fits(shape[0], item, f"{path}[]")
    elif isinstance(shape, dict) and "*" in shape:
        demand(isinstance(value, dict), f"{path} is no map")
        for key, item in value.items():
            demand(isinstance(key, str), f"{path} has a key that is no text")
            fits(shape["*"], item, f"{path}.{key}")
    elif isinstance(shape, dict):
        demand(isinstance(value, dict), f"{path} is no map")
        known = {key.lstrip("?") for key in shape}
        demand(set(value) <= known, f"{path} has {sorted(set(value) - known)}")
        for key, part in shape.items():
            if key.lstrip("?") in value:
                fits(part, value[key.lstrip("?")], f"{path}.{key}")
            else:
                demand(key.startswith("?"), f"{path} lacks {key}")
    else:
        of_kind = isinstance(value, shape) and (shape is bool or not isinstance(value, bool))
        demand(of_kind, f"{path} is {value!r}")


class Judge:
    """One line, both ways."""

    def __init__(self):
        self.asked = []
        self.subscribed = False
        self.seen = set()

    def request(self, header, body):
        if header["op"] not in ("read", "write"):
            return
        self.asked.append((header, body))
        if (header["group"], header["command"]) == SUBSCRIBE:
            self.subscribed = True

    def lines(self, lines):
        for at, line in enumerate(lines):
            last = at == len(lines) - 1
            demand(len(line) <= smp.LINE_MAX, f"a line of {len(line)} bytes")
            demand(last or len(line) == smp.LINE_MAX, "a short line before the last")
            demand(b"\r" not in line and line.endswith(b"\n"), "a line not ended by LF alone")
            demand(last or b"=" not in line, "padding before the last line")

    def answer(self, header, data, body, flags):
        kind = (header["group"], header["command"], header["op"])
        what = f"the answer {kind}"
        demand(flags == 0, f"{what} has flags")
        demand(isinstance(body, dict), f"{what} is no map")
        demand(cbor2.dumps(body) == data, f"{what} is not in its shortest form: {data.hex()}")
        demand(8 + len(data) <= smp.PACKET_MAX, f"{what} is longer than buf_size says")
        if kind == PUSH and header["seq"] == 0:
            demand(self.subscribed, f"{what} came unasked")
            self.seen.add(kind)
            return
        request = self.match(header, what)
        error = self.error(header, body, request, what)
        self.seen.add((*kind, error))
        if error == "":
            demand("rc" not in body and "err" not in body, f"{what} has rc or err with success")
            if header["group"] < OWN_GROUPS:
                demand(kind in ANSWERS, f"{what} is of no command of the standard")
                fits(ANSWERS[kind], body, what)
        if kind == (0, 6, "read_response") and error == "":
            demand(body["buf_size"] == smp.PACKET_MAX + 4, f"{what}: {body}")

    def match(self, header, what):
        """The request that this answers: each is answered once, those before may have been lost."""
        for at, (asked, body) in enumerate(self.asked):
            same = all(asked[key] == header[key] for key in ("group", "command", "seq", "version"))
            if same and asked["op"] + "_response" == header["op"]:
                del self.asked[: at + 1]
                return body
        raise Broken(f"{what} answers no request: {header}")

    def error(self, header, body, request, what):
        """The form of a refusal, to the letter; "" for success."""
        if "err" in body:
            demand(header["version"] == 1, f"{what} has err in version 1")
            demand(set(body["err"]) == {"group", "rc"}, f"{what}: err {body['err']}")
            demand(body["err"]["group"] == header["group"], f"{what}: err of another group")
            demand(body["err"]["rc"] > 0, f"{what}: err that is none")
            wants_words = header["group"] >= OWN_GROUPS and request.get("rsn") is True
            more = {"rsn"} if wants_words else set()
            demand(set(body) == {"err"} | more, f"{what} has {sorted(body)} beside err")
            return f"err {body['err']['rc']}"
        if "rc" in body:
            demand(set(body) <= {"rc", "rsn"} and body["rc"] > 0, f"{what}: {body}")
            return f"rc {body['rc']}"
        return ""
