/** The settings of a real TEE: which applications its services are, and what can restart it. */
import { Failure } from "./errors.ts";
import { type Canary, type DeviceService, outputBytesMax } from "./io/teecalls.ts";
import type { TeeProviders } from "./io/teeproviders.ts";
import { servicesMax } from "./machines/teeconfig.ts";
import { openParamsOf, serviceMembers } from "./teeservices.ts";
import { type Infer, list, map, oneOf, optional, text, uint } from "./wire/shape.ts";

const command = list(text, 16);

export const teeSettingsShape = map({
  policy: optional(oneOf("require", "prefer", "simulate")),
  /** Names of the security services, in the order in which they are to be registered. */
  services: optional(list(text, servicesMax)),
  /** /dev/tee0. */
  device: optional(text),
  /** Which trusted application a service is. One whose name is a UUID needs no entry. */
  applications: optional(
    list(
      map({
        service: text,
        uuid: text,
        login: optional(oneOf("public", "user", "application", "user_application")),
        /** The command that tells whether a key was used; without it nothing is sent twice. */
        query_command: optional(uint),
        ...serviceMembers,
      }),
      servicesMax,
    ),
  ),
  /** The Unix socket for programs of the card; "none" = there is none. */
  socket: optional(text),
  /** A harmless application whose command is called as the proof of life. */
  canary: optional(map({ uuid: text, command: uint, output_bytes: optional(uint) })),
  /** The kernel's name of the supplicant process (tee-supplicant), and what restarts it. */
  supplicant: optional(
    map({ name: optional(text), stop: optional(command), start: optional(command) }),
  ),
  /** What reloads the driver; that does not restart the TEE. */
  driver: optional(map({ unload: command, load: command })),
  /** What makes firmware restart the TEE OS: a program, or a value for a file in sysfs. */
  firmware: optional(
    map({ command: optional(command), sysfs: optional(text), value: optional(text) }),
  ),
  /** What makes firmware save and restore the hardware status. */
  hardware: optional(map({ save: command, restore: command })),
});
export type TeeSettings = Infer<typeof teeSettingsShape>;

/** TEE_IOCTL_LOGIN_*: those that need no group. */
const logins = { public: 0, user: 1, application: 4, user_application: 5 } as const;

/**
 * OP-TEE's list of devices, 16 bytes each: in every OP-TEE, without a file, without the supplicant,
 * open to every client, and it only reads. A list that is longer than the room for it is refused
 * (SHORT_BUFFER), which is as good a sign of life. Seen to answer so on OP-TEE 4.5.
 * Source: lib/libutee/include/pta_device.h, core/pta/device.c.
 */
const deviceList = {
  uuid: "7011a688-ddde-4053-a5a9-7b3c4ddf13b8",
  command: 0,
  output_bytes: 1_024,
};

export interface DeviceSettings {
  readonly device: string;
  readonly services: ReadonlyMap<string, DeviceService>;
  readonly canary: Canary;
  readonly supplicantName: string;
  readonly providers: TeeProviders;
}

/** Failure `config.invalid` for what is incomplete, or would hang the card. */
export function deviceSettings(settings: TeeSettings): DeviceSettings {
  const { canary = deviceList, services = [], applications = [] } = settings;
  for (const { service } of applications) {
    if (!services.includes(service)) {
      refuse(`tee.applications names ${service}, which is not among tee.services`);
    }
  }
  const named = services.map((name): [string, DeviceService] => {
    const found = applications.find(({ service }) => service === name);
    const uuid = parseUuid(found?.uuid ?? name, `the application of TEE service ${name}`);
    const queryCommand = found?.query_command ?? null;
    const login = logins[found?.login ?? "public"];
    const openParams = openParamsOf(name, found);
    const given = openParams.length === 0 ? {} : { openParams };
    return [name, { uuid, login, queryCommand, ...given }];
  });
  return {
    device: settings.device ?? "/dev/tee0",
    services: new Map(named),
    canary: canaryOf(canary),
    supplicantName: settings.supplicant?.name ?? "tee-supplicant",
    providers: providersOf(settings),
  };
}

function canaryOf({ uuid, command, output_bytes = 0 }: NonNullable<TeeSettings["canary"]>): Canary {
  if (output_bytes > outputBytesMax) {
    refuse(`tee.canary.output_bytes is ${output_bytes}; it can be 0 to ${outputBytesMax}`);
  }
  return { uuid: parseUuid(uuid, "tee.canary.uuid"), command, outputBytes: output_bytes };
}

function providersOf({ supplicant, driver, firmware, hardware }: TeeSettings): TeeProviders {
  const providers: TeeProviders = {
    ...(driver === undefined ? {} : { driver }),
    ...(hardware === undefined ? {} : { hardware }),
    ...supplicantOf(supplicant),
    ...firmwareOf(firmware),
  };
  const { stop, start } = supplicant ?? {};
  const programs = [
    ...[driver?.unload, driver?.load, hardware?.save, hardware?.restore],
    ...[stop, start, firmware?.command],
  ].filter((one) => one !== undefined);
  if (programs.some((one) => one.length === 0)) refuse("a program of the tee settings is empty");
  const words = [...programs.flat(), firmware?.sysfs ?? ""];
  const unbinds = words.find((word) => /(^|[/\s])unbind($|\s)/.test(word));
  if (unbinds !== undefined) {
    refuse(
      `tee: "${unbinds}" would unbind the driver, which never returns while a session is open; ` +
        "tee.driver unloads it instead, which is refused without harm",
    );
  }
  return providers;
}

function supplicantOf(supplicant: TeeSettings["supplicant"]): TeeProviders {
  const { stop, start } = supplicant ?? {};
  if (stop === undefined && start === undefined) return {};
  if (stop !== undefined && start !== undefined) return { supplicant: { stop, start } };
  return refuse("tee.supplicant has stop and start, or neither");
}

function firmwareOf(firmware: TeeSettings["firmware"]): TeeProviders {
  if (firmware === undefined) return {};
  const { command: program, sysfs, value } = firmware;
  if (program !== undefined && sysfs === undefined) return { firmware: { command: program } };
  if (program !== undefined || sysfs === undefined || value === undefined) {
    return refuse("tee.firmware has a command, or sysfs and value");
  }
  if (!/^\/sys\/(?!.*\.\.)/.test(sysfs)) refuse(`tee.firmware.sysfs is ${sysfs}; it is under /sys`);
  return { firmware: { sysfs, value } };
}

/** 16 bytes in the order in which the driver wants them. */
function parseUuid(written: string, what: string): Uint8Array {
  if (!/^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/i.test(written)) {
    refuse(`${what} is ${written}; a UUID has 8-4-4-4-12 hex digits (tee.applications)`);
  }
  const digits = written.replaceAll("-", "");
  return Uint8Array.from({ length: 16 }, (_, at) => {
    return Number.parseInt(digits.slice(2 * at, 2 * at + 2), 16);
  });
}

function refuse(why: string): never {
  throw new Failure("config.invalid", why);
}
