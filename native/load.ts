import { createRequire } from "node:module";
import { join } from "node:path";
import { Failure } from "../agent/errors.ts";

declare const __NATIVE_DIR__: string;

/** Loads `<name>.node` for this platform; throws a Failure `native.missing` when it cannot. */
export function loadNative(name: string): unknown {
  const folder = join(__dirname, __NATIVE_DIR__, `${process.platform}-${process.arch}-glibc`);
  const path = join(folder, `${name}.node`);
  try {
    return createRequire(__filename)(path);
  } catch (cause) {
    throw new Failure("native.missing", `Cannot load the native addon ${path}.`, { cause });
  }
}
