import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Address, forms, parseAddress } from "../../agent/io/transports/address.ts";
import { throwsCode } from "../assert.ts";

const test = suite("port addresses");

const right: [text: string, address: Address][] = [
  ["/dev/ttyUSB0", { kind: "serial", path: "/dev/ttyUSB0" }],
  ["/dev/serial/by-id/usb-A_B-if00", { kind: "serial", path: "/dev/serial/by-id/usb-A_B-if00" }],
  ["rshim:0", { kind: "rshim", path: "/dev/rshim0/console" }],
  ["/dev/rshim12/console", { kind: "rshim", path: "/dev/rshim12/console" }],
  ["tcp://lab3:2000", { kind: "tcp", host: "lab3", port: 2000 }],
  ["tcp://[fe80::1%eth0]:65535/", { kind: "tcp", host: "fe80::1%eth0", port: 65_535 }],
  ["rfc2217://10.0.0.1:1", { kind: "rfc2217", host: "10.0.0.1", port: 1 }],
  ["unix:/run/kennel/x.sock", { kind: "unix", path: "/run/kennel/x.sock" }],
  ["pty:", { kind: "pty" }],
  ["exec:ssh lab3 'cat: x'", { kind: "exec", command: "ssh lab3 'cat: x'" }],
  ["file:a.rec", { kind: "file", path: "a.rec" }],
  ["sim:", { kind: "sim", seed: null }],
  ["sim:7", { kind: "sim", seed: 7 }],
];

test("every form is understood", () => {
  for (const [text, address] of right) assert.equal(parseAddress(text), address, text);
  const kinds = new Set(right.map(([, { kind }]) => kind));
  assert.is(kinds.size, forms.length, "each row of the table has an example here");
});

const wrong = [
  ...["rshim:", "rshim:x", "rshim:-1", "rshim:99999", "tcp://", "tcp://lab3", "tcp://lab3:0"],
  ...["tcp://lab3:65536", "tcp://fe80::1:5", "tcp://a b:5", "rfc2217://lab3:", "unix:", "exec: "],
  ...["pty:/dev/pts/1", "file:", "sim:x", "sim:-1", "sim:99999999999"],
];

test("what is none names the form that was meant, and is a usage error", () => {
  for (const text of wrong) {
    const failure = throwsCode(() => parseAddress(text), "usage.invalid");
    assert.ok(failure.message.includes(`--port ${text}: expected `), failure.message);
    assert.match(failure.message, /See kennel help ports\./);
  }
});

test.run();
