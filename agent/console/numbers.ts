/** Numbers on the command line; what is none is a usage error that names the option. */
import { InvalidArgumentError } from "commander";

/** Seconds as given to milliseconds. */
export function milliseconds(given: number | undefined): number | undefined {
  return given === undefined ? undefined : Math.round(given * 1000);
}

/** Longest span taken, in seconds: a year; timers count no further than 25 days at once. */
const secondsMax = 31_536_000;

export function seconds(text: string): number {
  const value = positive(text);
  if (value > secondsMax) throw new InvalidArgumentError(`At most ${secondsMax} seconds.`);
  return value;
}

export function positive(text: string): number {
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : 0;
  if (!(value > 0)) throw new InvalidArgumentError("Give a number above 0.");
  return value;
}

export function whole(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value)) {
    throw new InvalidArgumentError("Give a whole number.");
  }
  return value;
}
