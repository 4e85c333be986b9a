import { suite } from "uvu";
import * as assert from "uvu/assert";
import { configure, parseSettings } from "../../agent/config.ts";
import { Failure } from "../../agent/errors.ts";
import { detectTee } from "../../agent/io/devicetee.ts";
import { canaryParams, openParams } from "../../agent/io/teecalls.ts";
import { describeProviders, firmwareCommand, powersOf } from "../../agent/io/teeproviders.ts";
import { deviceSettings } from "../../agent/teesettings.ts";

const settingsSuite = suite("tee settings");
const uuid = "8aaaf200-2450-11e4-abe2-0002a5d5c51b";

function read(tee: unknown) {
  return deviceSettings(parseSettings(JSON.stringify({ tee }), "test").tee ?? {});
}

function refusal(tee: unknown): string {
  try {
    read(tee);
  } catch (error) {
    assert.instance(error, Failure);
    assert.is((error as Failure).code, "config.invalid");
    return (error as Failure).message;
  }
  return "accepted";
}

settingsSuite("a service is the application that its entry names, or its own name", () => {
  const { services, device, canary } = read({
    services: ["keystore", uuid],
    applications: [{ service: "keystore", uuid, login: "application", query_command: 7 }],
  });
  const bytes = Uint8Array.from(Buffer.from(uuid.replaceAll("-", ""), "hex"));
  assert.equal(services.get("keystore"), { uuid: bytes, login: 4, queryCommand: 7 });
  assert.equal(services.get(uuid), { uuid: bytes, login: 0, queryCommand: null });
  assert.is(device, "/dev/tee0");
  assert.is(Buffer.from(canary.uuid).toString("hex"), "7011a688ddde4053a5a97b3c4ddf13b8");
  // PTA_CMD_GET_DEVICES takes one memory out, and nothing else.
  assert.is(canary.command, 0);
  assert.equal(canaryParams(canary), [{ attr: 6, size: 1024 }]);
  const own = { canary: { uuid, command: 3 } };
  assert.equal(canaryParams(read(own).canary), []);
});

settingsSuite("what is incomplete or not known is refused by its name", () => {
  assert.match(refusal({ services: ["keystore"] }), /application of TEE service keystore/);
  assert.match(
    refusal({ services: [uuid], applications: [{ service: "x", uuid }] }),
    /names x, which is not among tee.services/,
  );
  assert.match(refusal({ canary: { uuid: "1234", command: 0 } }), /tee.canary.uuid is 1234/);
  const greedy = { uuid, command: 0, output_bytes: 4_097 };
  assert.match(refusal({ canary: greedy }), /output_bytes is 4097; it can be 0 to 4096/);
  assert.match(refusal({ supplicant: { stop: ["a"] } }), /stop and start, or neither/);
  assert.match(refusal({ firmware: { value: "1" } }), /a command, or sysfs and value/);
  assert.match(refusal({ firmware: { sysfs: "/etc/passwd", value: "1" } }), /is under \/sys/);
  assert.match(refusal({ firmware: { sysfs: "/sys/../etc/x", value: "1" } }), /is under \/sys/);
  assert.match(refusal({ firmware: { command: [] } }), /is empty/);
});

settingsSuite("a service is registered with who may use it, its classes, and its recipe", () => {
  const entry = {
    ...{ service: "keystore", uuid, class: "keyed", allow: { uids: [7], gids: [8] } },
    commands: [{ command: 1, class: "once" }],
    open_params: [{ value: [1, 2] }, { bytes: "cafe" }],
    rehydrate: [{ command: 9, input: "00ff" }, { command: 10 }],
  };
  const tee = { services: ["keystore"], applications: [entry] };
  const config = configure(parseSettings(JSON.stringify({ tee }), "test"), "0");
  const classes = new Map([[1, "once"]]);
  const policy = { name: "keystore", uids: [7], gids: [8], defaultClass: "keyed", classes };
  assert.equal(config.services, [policy]);
  assert.is(config.teeSocket, "/run/kennel/tee.sock");
  const recipe = [
    { command: 9, input: Uint8Array.of(0, 0xff) },
    { command: 10, input: null },
  ];
  assert.equal(config.tee.services, [{ name: "keystore", rehydrate: recipe }]);
  const params = read(tee).services.get("keystore")?.openParams ?? [];
  assert.equal(params, [{ value: [1, 2] }, { bytes: Uint8Array.of(0xca, 0xfe) }]);
  assert.equal(openParams(params), [
    { attr: 1, a: 1, b: 2 },
    { attr: 5, bytes: Uint8Array.of(0xca, 0xfe) },
  ]);
});

settingsSuite("what of a registration, or of the socket, makes no sense is refused by name", () => {
  const refused = (more: object, tee: object = {}): string => {
    const entry = { service: "keystore", uuid, ...more };
    const all = { services: ["keystore"], applications: [entry], ...tee };
    try {
      const settings = parseSettings(JSON.stringify({ tee: all }), "test");
      configure(settings, "0");
      deviceSettings(settings.tee ?? {});
      return "accepted";
    } catch (error) {
      assert.is((error as Failure).code, "config.invalid");
      return (error as Failure).message;
    }
  };
  assert.is(refused({}), "accepted");
  assert.match(refused({ allow: { uids: [0xffff_ffff] } }), /allows the id 4294967295/);
  const twice = { command: 1, class: "once" };
  assert.match(refused({ commands: [twice, twice] }), /a command twice/);
  assert.match(refused({ rehydrate: [{ command: 1, input: "xyz" }] }), /hexadecimal/);
  assert.match(refused({ open_params: [{ value: [1] }] }), /two numbers or bytes/);
  assert.match(refused({ open_params: [{ value: [1, 2], bytes: "00" }] }), /two numbers or bytes/);
  assert.match(refused({ class: "twice" }), /class/);
  assert.match(refused({ alow: {} }), /alow is no setting/);
  assert.match(refused({}, { socket: "tee.sock" }), /absolute path/);
  assert.match(refused({}, { socket: `/${"x".repeat(107)}` }), /absolute path/);
  assert.is(refused({}, { socket: "none" }), "accepted");
});

settingsSuite("without named services there is no socket, unless one is asked for", () => {
  const socketOf = (tee: object): string | null =>
    configure(parseSettings(JSON.stringify({ tee }), "test"), "0").teeSocket;
  assert.is(socketOf({}), null);
  assert.is(socketOf({ policy: "simulate" }), null);
  assert.is(socketOf({ policy: "simulate", socket: "/run/x.sock" }), "/run/x.sock");
  assert.is(socketOf({ services: [uuid], socket: "none" }), null);
});

settingsSuite("nothing unbinds the driver through sysfs", () => {
  const path = "/sys/bus/platform/drivers/optee/unbind";
  assert.match(refusal({ firmware: { sysfs: path, value: "optee" } }), /never returns/);
  const shell = ["sh", "-c", `echo optee > ${path}`];
  assert.match(refusal({ driver: { unload: shell, load: ["true"] } }), /never returns/);
  assert.match(refusal({ supplicant: { stop: shell, start: ["true"] } }), /never returns/);
  assert.is(
    refusal({ driver: { unload: ["rmmod", "optee"], load: ["modprobe", "optee"] } }),
    "accepted",
  );
});

settingsSuite("powers are those of the providers, and reloading the driver is none", () => {
  const { providers } = read({
    driver: { unload: ["rmmod", "optee"], load: ["modprobe", "optee"] },
  });
  assert.equal(powersOf(providers), ["session"]);
  assert.match(describeProviders(providers), /driver reload \(does not restart the TEE\)/);
  const all = read({
    supplicant: { stop: ["a"], start: ["b"] },
    firmware: { sysfs: "/sys/firmware/tee/restart", value: "1" },
    hardware: { save: ["c"], restore: ["d"] },
  }).providers;
  assert.equal(powersOf(all), ["session", "supplicant", "tee_os"]);
  assert.ok(detectTee("/dev/null", all).hardwareStatus);
  // In a process of its own, without a shell: the kernel may never return from the write.
  const [program, , , ...args] = firmwareCommand(all.firmware ?? { command: [] });
  assert.is(program, process.execPath);
  assert.equal(args, ["/sys/firmware/tee/restart", "1"]);
});

settingsSuite.run();
