#!/usr/bin/env python3
"""Writes signed.json: signed commands made without Kennel, by Debian's python3-cbor2 and
python3-cryptography, with the keys of RFC 8032, 7.1. Run: python3 test/vectors/signed.py"""

import base64
import hashlib
import json
import struct
from pathlib import Path

import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SEEDS = {
    "RFC 8032 test 1": "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    "RFC 8032 test 2": "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
}


def smp(op, group, seq, command, body):
    encoded = cbor2.dumps(body)
    return struct.pack(">BBHHBB", 1 << 3 | op, 0, len(encoded), group, seq, command) + encoded


def vector(name, key, payload, device, boot, nonce, counter, until_ms, epoch, seat):
    private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(SEEDS[key]))
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    blob = struct.pack(">I", 11) + b"ssh-ed25519" + struct.pack(">I", 32) + public
    kid = hashlib.sha256(blob).digest()
    claims = [device, boot, nonce, counter, until_ms, epoch, seat]
    header = cbor2.dumps({1: -8, 2: ["kennel"], 4: kid, "kennel": claims}, canonical=True)
    to_sign = cbor2.dumps(["Signature1", header, b"", payload])
    signature = private.sign(to_sign)
    return {
        "name": name,
        "key": key,
        "seed": SEEDS[key],
        "publicKey": public.hex(),
        "line": "ssh-ed25519 " + base64.b64encode(blob).decode(),
        "envelope": {
            "kid": kid.hex(),
            "device": device,
            "boot": boot,
            "nonce": nonce.hex(),
            "counter": counter,
            "untilMs": until_ms,
            "epoch": epoch,
            "seat": seat,
        },
        "payload": payload.hex(),
        "header": header.hex(),
        "toBeSigned": to_sign.hex(),
        "signature": signature.hex(),
        "cose": cbor2.dumps([header, {}, payload, signature]).hex(),
    }


NONCE = bytes(range(16))
VECTORS = [
    vector(
        "wdt arm, nothing held",
        "RFC 8032 test 1",
        smp(2, 66, 0, 2, {"promise_ms": 90000}),
        *("3d1219c7c4c5404aaa1f6d2a48adfda4", "12-9f3a61c0", NONCE, 1, 185400, 0, "bench"),
    ),
    vector(
        "os reset, large numbers, a seat that is not ASCII",
        "RFC 8032 test 2",
        smp(2, 0, 7, 5, {}),
        *("nic7", "4294967296-00000000", NONCE, 65536, 2**40, 2**32 - 1, "Prüfstand"),
    ),
    vector(
        "report acknowledge, each number at the end of a length",
        "RFC 8032 test 1",
        smp(2, 68, 255, 2, {"boot": "1-00000000", "seq": 23}),
        *("x" * 64, "b", NONCE, 23, 255, 65535, ""),
    ),
]

PATH = Path(__file__).with_name("signed.json")
PATH.write_text(json.dumps(VECTORS, indent=1, ensure_ascii=False) + "\n")
