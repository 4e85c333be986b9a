"""SMP over a serial console, written anew from SPEC.md and the standard's documents.

Nothing here is shared with the agent, and CBOR is read and written by Debian's python3-cbor2: what
both sides agree on is not a mistake that one of them copied from the other.
"""

import base64
import binascii
import struct

import cbor2

FIRST, FURTHER = b"\x06\x09", b"\x04\x14"
LINE_MAX = 127
PACKET_MAX = 2048
OPS = ("read", "read_response", "write", "write_response")


def crc16(data):
    """CRC-16/XMODEM, bit by bit: polynomial 0x1021, start 0, not reflected."""
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1
        crc &= 0xFFFF
    return crc


assert crc16(b"123456789") == 0x31C3


def message(version, op, group, seq, command, body):
    """Header and CBOR; a body that is bytes already is taken as it is."""
    data = body if isinstance(body, bytes) else cbor2.dumps(body)
    first = version << 3 | OPS.index(op)
    return struct.pack(">BBHHBB", first, 0, len(data), group, seq, command) + data


def frame(packet):
    """The packet as lines: base64 of all of it, cut every 124 characters."""
    whole = struct.pack(">H", len(packet) + 2) + packet + struct.pack(">H", crc16(packet))
    text = base64.b64encode(whole)
    lines = [text[at : at + 124] for at in range(0, len(text), 124)]
    marked = [(FIRST if at == 0 else FURTHER) + line + b"\n" for at, line in enumerate(lines)]
    return b"".join(marked)


class Deframer:
    """Bytes in, packets out; `lines` are the raw lines of each packet that was good."""

    def __init__(self):
        self.rest = b""
        self.raw = None
        self.lines = []

    def push(self, data):
        self.rest += data
        while b"\n" in self.rest:
            line, self.rest = self.rest.split(b"\n", 1)
            packet = self.line(line)
            if packet is not None:
                yield packet, self.lines

    def line(self, line):
        """A frame may begin behind text, and a later beginning makes an earlier one void."""
        start = line.rfind(FIRST)
        if start >= 0:
            self.raw, self.lines = b"", []
        else:
            start = line.find(FURTHER)
            if start < 0 or self.raw is None:
                # Text between the lines of a packet; or the rest of one that is bad.
                return None
        content = line[start + 2 :].rstrip(b"\r")
        try:
            self.raw += b"".join(decoded(content))
        except (binascii.Error, ValueError):
            self.raw = None
            return None
        self.lines.append(line[start:] + b"\n")
        return self.complete()

    def complete(self):
        if len(self.raw) < 2:
            return None
        (length,) = struct.unpack(">H", self.raw[:2])
        if length < 2 or length - 2 > PACKET_MAX or len(self.raw) > length + 2:
            self.raw = None
            return None
        if len(self.raw) < length + 2:
            return None
        packet, crc = self.raw[2:-2], self.raw[-2:]
        self.raw = None
        return packet if struct.pack(">H", crc16(packet)) == crc else None


def decoded(content):
    """Base64 by the letter: whole groups, padding at the end alone, nothing left over in it."""
    data = base64.b64decode(content, validate=True)
    if base64.b64encode(data) != content:
        raise ValueError("more than one text for these bytes")
    yield data


def messages(packet):
    """The messages of a packet: header and body each; one that is cut or no CBOR ends them."""
    at = 0
    while at + 8 <= len(packet):
        first, flags, length, group, seq, command = struct.unpack(">BBHHBB", packet[at : at + 8])
        data = packet[at + 8 : at + 8 + length]
        header = {
            "version": first >> 3 & 3,
            "op": OPS[first & 7] if first & 7 < 4 else None,
            "group": group,
            "seq": seq,
            "command": command,
        }
        if first >> 5 or header["op"] is None or len(data) < length:
            return
        yield header, data, flags
        at += 8 + length
