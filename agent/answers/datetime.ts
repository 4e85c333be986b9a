/** Dates as SMP has them: `yyyy-MM-ddTHH:mm:ss[.SSSSSS][Z or +HH:mm]`; UTC without a zone. */

const form = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)?$/;

/** Before this a card's clock has not been set: the first release is of 2026. */
export const clockSetMs = Date.UTC(2020, 0, 1);

/** Milliseconds since 1970, or null for what is no date of the calendar. */
export function parseDatetime(text: string): number | null {
  const parts = form.exec(text);
  if (parts === null) return null;
  const [year, month, day, hour, minute, second] = parts.slice(1, 7).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const ms = Math.floor(Number(`0.${parts[7] ?? "0"}`) * 1000);
  const zone = zoneMinutes(parts[8] ?? "Z");
  const atMs = Date.UTC(year, month - 1, day, hour, minute, second, ms);
  const read = new Date(atMs);
  const isReal =
    month >= 1 &&
    read.getUTCMonth() === month - 1 &&
    read.getUTCDate() === day &&
    hour <= 23 &&
    minute <= 59 &&
    second <= 59;
  return isReal && zone !== null ? atMs - zone * 60_000 : null;
}

/** Minutes east of UTC; null beyond what any place has. */
function zoneMinutes(zone: string): number | null {
  if (zone === "Z") return 0;
  const [hours, minutes] = [Number(zone.slice(1, 3)), Number(zone.slice(-2))];
  if (hours > 14 || minutes > 59) return null;
  return (zone.startsWith("-") ? -1 : 1) * (hours * 60 + minutes);
}

/** UTC to the millisecond, without a zone: clients of the standard take 19 to 25 characters. */
export function showDatetime(wallMs: number): string {
  return new Date(wallMs).toISOString().slice(0, 23);
}
