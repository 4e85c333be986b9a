/** `kennel settings`: what the card is told, and to tell it otherwise. */

import { settingNames } from "../answers/settings.ts";
import { Failure } from "../errors.ts";
import type { Outcome } from "./context.ts";
import type { Link } from "./link.ts";
import { fields, harmlessText, type Paint } from "./show.ts";

export interface SettingsOptions {
  /** Keeps it over restarts of the agent. */
  readonly save?: true;
  /** Goes back to what the card's settings file says. */
  readonly default?: true;
}

/** All of them, one, or one with a new value, in effect at once where it can be. */
export async function settings(
  link: Link,
  paint: Paint,
  name: string | undefined,
  value: string | undefined,
  options: SettingsOptions,
): Promise<Outcome> {
  const changes = value !== undefined || options.default === true;
  if (name === undefined) {
    if (options.save === true) await link.request("settings.save", {});
    return show(link, paint, settingNames);
  }
  if (value !== undefined && options.default === true) {
    throw new Failure("usage.invalid", "give a value or --default, not both.");
  }
  if (value !== undefined) {
    await link.request("settings.write", { name, val: new TextEncoder().encode(value) });
  } else if (options.default === true) {
    await link.request("settings.delete", { name });
  }
  if (changes) await link.request("settings.commit", {});
  if (options.save === true) await link.request("settings.save", {});
  return show(link, paint, [name]);
}

async function show(link: Link, paint: Paint, names: readonly string[]): Promise<Outcome> {
  const found: Record<string, unknown> = {};
  for (const name of names) {
    const { val } = await link.request("settings.read", { name });
    found[name] = parsed(new TextDecoder().decode(val));
  }
  const rows = Object.entries(found).map(([name, value]) => {
    return [name, harmlessText(JSON.stringify(value))] as [string, string];
  });
  return { data: { settings: found }, text: fields(paint, rows) };
}

/** Other servers have values that are no JSON. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
