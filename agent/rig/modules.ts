/**
 * Kernel modules in the order in which they can be loaded. Debian makes modules.dep only when a
 * kernel is installed, so the dependencies are read from the modules themselves: the string
 * `depends=a,b` in their .modinfo section.
 */
import { Failure } from "../errors.ts";

export interface Module {
  readonly name: string;
  readonly bytes: Buffer;
}

/**
 * `wanted` and everything they depend on, each module after those it needs. `read` gives the
 * content of a module by name, `built in` for one that is part of the kernel itself, or undefined
 * where there is none: then `rig.fault`.
 */
export function loadOrder(
  wanted: readonly string[],
  read: (name: string) => Buffer | "built in" | undefined,
): Module[] {
  const ordered = new Map<string, Module>();
  const visit = (name: string, neededBy: string): void => {
    if (ordered.has(name)) return;
    const bytes = read(name);
    if (bytes === undefined) {
      throw new Failure("rig.fault", `the kernel has no module ${name}; ${neededBy} needs it`);
    }
    if (bytes === "built in") return;
    for (const dependency of dependsOf(bytes)) visit(dependency, name);
    ordered.set(name, { name, bytes });
  };
  for (const name of wanted) visit(name, "the guest");
  return [...ordered.values()];
}

/** The names of the modules that a module depends on. */
export function dependsOf(bytes: Buffer): string[] {
  const key = "\0depends=";
  const at = bytes.indexOf(key);
  if (at < 0) return [];
  const end = bytes.indexOf(0, at + key.length);
  const names = bytes.toString("latin1", at + key.length, end).split(",");
  return names.filter((name) => name !== "").map(moduleName);
}

/** `kernel/drivers/block/virtio_blk.ko` and `virtio-blk` are both the module `virtio_blk`. */
export function moduleName(file: string): string {
  const base = file.slice(file.lastIndexOf("/") + 1);
  return base.replace(/\.ko(\.xz)?$/, "").replaceAll("-", "_");
}
