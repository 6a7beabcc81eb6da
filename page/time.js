// Local time, as the server has it: its zone, its bounds of days, and how far its clocks are ahead of UTC. The browser's
// own zone and its own data of zones are used for nothing; `Intl` only writes the digits and names.

import { locale } from "./words.js";

const DAY = 86_400_000;

let skew = 0;
let precise = false;

/** Takes the server's time from the head of an answer, which has whole seconds. */
export function noteServerTime(date) {
  const at = Date.parse(date ?? "");
  if (!precise && Number.isFinite(at)) skew = at + 500 - Date.now();
}

/** Takes the server's time from an event, which has milliseconds. */
export function noteTick(at) {
  const time = Date.parse(at);
  if (!Number.isFinite(time)) return;
  precise = true;
  skew = time - Date.now();
}

/** The server's time now, in milliseconds since 1970. */
export const now = () => Date.now() + skew;

let calendar = null;

/** Takes what `/readyz?verbose` says of local time. */
export function setCalendar(day, from) {
  calendar = {
    day,
    zone: from.timezone,
    dayStart: from.day_start,
    startsAt: Date.parse(from.starts_at),
    endsAt: Date.parse(from.ends_at),
    offsets: from.offsets.map(({ from: at, seconds }) => ({ from: Date.parse(at), ms: seconds * 1000 })),
  };
}

/** `day`, `zone`, `dayStart`, `startsAt`, `endsAt`; `null` until the server has told. */
export const today = () => calendar;

function offsetAt(at) {
  let found = calendar?.offsets[0]?.ms ?? 0;
  for (const { from, ms } of calendar?.offsets ?? []) if (from <= at) found = ms;
  return found;
}

/** What the local clock shows at an instant, as if it were UTC. */
export const wall = (at) => at + offsetAt(at);

/** What the local clock shows at the end of a step; at a change of clocks that which it showed before. */
export const shownAt = (at) => wall(at - 1) + 1;

/** The first instant at which the local clock shows this; `null` for a time that it skips. */
export function fromWall(shown) {
  const offsets = calendar?.offsets ?? [];
  for (const [place, { from, ms }] of offsets.entries()) {
    const at = shown - ms;
    const end = offsets[place + 1]?.from ?? Infinity;
    if (at < end && (at >= from || place === 0)) return at;
  }
  return null;
}

/** The same local minute so many days before; `null` where there was none. */
export const sameMinute = (at, days) => fromWall(wall(at) - days * DAY);

/** The date so many days after (before, if negative). */
export function addDays(date, days) {
  return new Date(Date.parse(`${date}T00:00:00Z`) + days * DAY).toISOString().slice(0, 10);
}

const formats = new Map();

function format(name, options) {
  const key = `${locale()} ${name}`;
  let made = formats.get(key);
  if (!made) formats.set(key, made = new Intl.DateTimeFormat(locale(), { timeZone: "UTC", ...options }));
  return made;
}

const CLOCK = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };

/** `14:05` */
export const clock = (at) => format("clock", CLOCK).format(wall(at));

/** The same at the end of a step: at a change of clocks what they showed before. */
export const clockAtEnd = (at) => format("clock", CLOCK).format(shownAt(at));

/** `24 Nov, 14:05`; of another year than today's `24 Nov 2025, 14:05` */
export function dateTime(at) {
  const shown = wall(at);
  const isThisYear = !calendar || new Date(shown).toISOString().startsWith(calendar.day.slice(0, 4));
  const parts = { month: "short", day: "numeric", ...CLOCK };
  const made = isThisYear ? format("dateTime", parts) : format("dateTimeOfYear", { year: "numeric", ...parts });
  return made.format(shown);
}

/** `14:05`, or with the date where that is not of today. */
export const moment = (at) => (calendar && at >= calendar.startsAt && at < calendar.endsAt ? clock(at) : dateTime(at));

/** `24 Nov`, of a date such as `2026-11-24`; of another year than today's `24 Nov 2025`. */
export function dateText(date) {
  const isThisYear = calendar?.day.slice(0, 4) === date.slice(0, 4);
  const made = isThisYear ? format("date", { month: "short", day: "numeric" }) : format("dateOfYear", { year: "numeric", month: "short", day: "numeric" });
  return made.format(Date.parse(`${date}T00:00:00Z`));
}

/** `Tue, 24 Nov`, of a date. */
export const dayText = (date) => format("day", { weekday: "short", month: "short", day: "numeric" }).format(Date.parse(`${date}T00:00:00Z`));

/** Whether the day is a Saturday or Sunday. */
export const isWeekend = (date) => [0, 6].includes(new Date(`${date}T00:00:00Z`).getUTCDay());
