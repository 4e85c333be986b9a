"""Decodes a recorded session anew and compares it with what our decoder made of it.

    python3 test/independent/compare.py FILE

FILE has a JSON value a line, as test/session.ts writes them: bytes as they crossed a line, and our
decoding of every packet where it was complete. What the card says is held against the rules that
strict clients have as well. Ends with counts; exit status 1 at the first difference.
"""

import json
import sys

import cbor2
import smp
import strict


class Difference(Exception):
    pass


def plain(value):
    """As the record has it."""
    if isinstance(value, bytes):
        return {"$bytes": value.hex()}
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**53 - 1:
        return {"$int": str(value)}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def same(left, right):
    """Equal in value and in kind: 1, 1.0 and true are three things, but JSON's 1.0 is 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right


class Session:
    def __init__(self):
        self.deframers = {}
        self.found = {}
        self.judges = {}
        self.counts = {"frames": 0, "messages": 0, "bytes": 0}

    def take(self, entry):
        at = entry["at"]
        if "bytes" not in entry:
            return self.compare(at, entry)
        if self.found.get(at):
            raise Difference(f"{at}: a packet that our decoder did not find")
        data = bytes.fromhex(entry["bytes"])
        self.counts["bytes"] += len(data)
        deframer = self.deframers.setdefault(at, smp.Deframer())
        self.found[at] = list(deframer.push(data))
        return None

    def compare(self, at, entry):
        if not self.found.get(at):
            raise Difference(f"{at}: our decoder alone found {entry['packet']}")
        packet, lines = self.found[at].pop(0)
        if packet.hex() != entry["packet"]:
            raise Difference(f"{at}: {packet.hex()} against {entry['packet']}")
        ours = entry["messages"]
        theirs = list(smp.messages(packet))
        if len(theirs) != len(ours):
            raise Difference(f"{at}: {len(theirs)} messages against {len(ours)}")
        who, line = at.split()
        judge = self.judges.setdefault(line, strict.Judge())
        if who == "card":
            judge.lines(lines)
        for (header, data, flags), our in zip(theirs, ours):
            body = cbor2.loads(data) if data else {}
            if our is None or not same({**header, "body": plain(body)}, our):
                raise Difference(f"{at}: {header} {body} against {our}")
            if who == "card":
                judge.answer(header, data, body, flags)
            else:
                judge.request(header, body)
            self.counts["messages"] += 1
        self.counts["frames"] += 1


def main():
    session = Session()
    with open(sys.argv[1], encoding="utf8") as record:
        for number, text in enumerate(record, 1):
            try:
                session.take(json.loads(text))
            except (Difference, strict.Broken, cbor2.CBORDecodeError) as problem:
                print(f"line {number}: {problem}")
                return 1
    counts = ", ".join(f"{count} {what}" for what, count in session.counts.items())
    seen = set().union(*(judge.seen for judge in session.judges.values()))
    print(f"{counts}, {len(seen)} kinds of answers, no difference")
    return 0


sys.exit(main())
