/**
 * What kennel-teetwin.cjs is: the simulated TEE OS as a process of its own, so that ending it is a
 * real crash. Arguments: its folder, and the names of its services with commas between them. It
 * says `ready` once it listens, and ends with whoever started it (standard input ends).
 *
 * Secure storage outlives it in the folder's file `storage`; what is in RAM does not. `witness` has
 * a line for every invocation that was executed, for whoever has to know what really happened.
 */
import { appendFileSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { Failure } from "./errors.ts";
import { RealClock } from "./io/clock.ts";
import { devicePath, socketPath } from "./io/twindriver.ts";
import { Random } from "./sim/random.ts";
import { type Kept, SecureWorld } from "./sim/secureworld.ts";
import { measuredTimes, type TeeTimes, teeModel } from "./sim/teemodel.ts";
import { opTee, TwinWorld, twinServices } from "./sim/teetwin.ts";
import { PipeReader, requestOf, toPipe } from "./wire/teepipe.ts";
import { controlOf, greet } from "./wire/teetwin.ts";

const [folder = "", names = "", factor = "1"] = process.argv.slice(2);
const services = twinServices(names.split(",").filter((name) => name !== ""));
const file = (name: string): string => join(folder, name);

/** How this life of the TEE OS is called: one more than the last. */
function nextInstance(): number {
  const last = existsSync(file("instance")) ? Number(readFileSync(file("instance"), "utf8")) : 0;
  writeFileSync(file("instance"), String(last + 1));
  return last + 1;
}

/** Lines are appended before the call returns: a killed process has written all that it did. */
const kept: Kept = {
  stored: (service, key) => appendFileSync(file("storage"), `${service} ${key ?? ""}\n`),
  ran: (service, command, call, key) => {
    appendFileSync(file("witness"), `${service} ${command} ${call} ${key ?? ""}\n`);
  },
};

function times(): TeeTimes {
  const by = Number(factor);
  const scaled = Object.entries(measuredTimes).map(([name, ms]) => [name, ms * by]);
  return Object.fromEntries(scaled) as TeeTimes;
}

function recall(world: SecureWorld): void {
  if (!existsSync(file("storage"))) return;
  for (const line of readFileSync(file("storage"), "utf8").split("\n")) {
    const [service = "", key = ""] = line.split(" ");
    if (service === "") continue;
    const vault = world.vault(service);
    if (key === "") vault.objects += 1;
    else vault.keys.add(key);
  }
}

/** How it was told to behave is told to its next life too: a poison call stays one. */
function behave(body: Uint8Array): void {
  const control = controlOf(body);
  if (control === null) return;
  twin.control(control);
  if (control.control === "faults") writeFileSync(file("faults"), body);
}

const clock = new RealClock();
const instance = nextInstance();
const model = teeModel([], { services, times: times() });
const world = new SecureWorld(clock, new Random(instance), model, kept);
recall(world);
const twin = new TwinWorld(world, services);
if (existsSync(file("faults"))) behave(readFileSync(file("faults")));
// The driver is loaded once with the first TEE OS; later ones find it registered with another.
if (!existsSync(devicePath(folder)) && instance === 1)
  writeFileSync(devicePath(folder), String(instance));

const server = createServer((socket) => {
  const reader = new PipeReader();
  const send = (reply: Parameters<typeof toPipe>[0]): void => void socket.write(toPipe(reply));
  const client = twin.client(send);
  send(greet({ implementation: opTee, genericCaps: twin.caps, instance }));
  socket.on("error", () => undefined);
  socket.on("close", () => client.end());
  socket.on("data", (some) => {
    try {
      for (const body of reader.push(some)) {
        const control = controlOf(body);
        if (control === null) client.perform(requestOf(body));
        else {
          behave(body);
          send({ id: control.id, ret: 0, origin: 0 });
        }
      }
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      socket.destroy();
    }
  });
});
rmSync(socketPath(folder), { force: true });
server.listen(socketPath(folder), () => {
  writeFileSync(file("pid"), String(process.pid));
  process.stdout.write("ready\n");
});
process.stdin.on("end", () => process.exit(0)).resume();
