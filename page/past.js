// The past of counters: days as curves, minutes of an hour, and day records. What cannot change is kept while the day
// lasts; what can is read anew after a while.

import { get } from "./api.js";
import { addDays, now, sameMinute, shownAt, today } from "./time.js";

export const STEP = 300_000;
const MINUTE = 60_000;
const HOUR = 3_600_000;
/** Most answers kept; the oldest go first. */
const MOST = 500;

const kept = new Map();

function keep(key, make) {
  let found = kept.get(key);
  if (!found) {
    found = make();
    kept.set(key, found);
    found.catch(() => kept.delete(key));
    if (kept.size > MOST) kept.delete(kept.keys().next().value);
  }
  return found;
}

/** Forgets everything: the day, the token or the language of the server is another. */
export const forget = () => kept.clear();

/** Forgets one counter, which was changed by hand. */
export function forgetCounter(name) {
  for (const key of kept.keys()) if (key.startsWith(`${name} `)) kept.delete(key);
}

async function series(path) {
  try {
    const answer = await get(path);
    const at = answer.points.map((point) => Date.parse(point.at));
    return { at, last: answer.points.map((point) => point.last), followed: answer.followed, day: answer.day };
  } catch (error) {
    // Samples do not go back so far, or the counter is gone, or nothing but a copy is there.
    if ([400, 404, 410].includes(error.status)) return { at: [], last: [], followed: true, day: null };
    throw error;
  }
}

const counterPath = (name) => `/api/v1/counter/${encodeURIComponent(name)}`;

/** The course of a local day, so many days before today, in steps of five minutes. `fresh` reads today's anew. */
export function day(name, back, fresh = false) {
  const date = addDays(today().day, -back);
  const key = `${name} day ${date}`;
  if (fresh) kept.delete(key);
  return keep(key, () => series(`${counterPath(name)}/series?day=${date}&step=5m`));
}

/** The value at the end of the same local minute so many days before; `null` where none is known. */
export async function valueThen(name, back) {
  const at = sameMinute(now(), back);
  if (at === null) return null;
  // An hour's minutes are read at once.
  const hour = Math.floor(at / HOUR);
  const key = `${name} hour ${hour}`;
  const to = new Date((hour + 1) * HOUR - MINUTE).toISOString();
  const { at: begins, last } = await keep(key, () => series(`${counterPath(name)}/series?to=${to}&range=59m&step=1m`));
  const place = begins.indexOf(Math.floor(at / MINUTE) * MINUTE);
  return place < 0 ? null : last[place];
}

/** The values of a day by what the local clock showed at the end of each step, as if it were today. */
export function byLocalTime(course, back) {
  const values = new Map();
  course.at.forEach((at, place) => {
    const shown = shownAt(at + STEP) + back * 24 * HOUR;
    if (!values.has(shown)) values.set(shown, course.last[place]);
  });
  return values;
}

/** The instants of a local day: its begin, and the ends of its steps. */
export function steps(from, to) {
  const all = [];
  for (let at = Math.floor(from / STEP) * STEP; at - STEP < to; at += STEP) all.push(at);
  return all;
}

/** Day records from a day on, newest first, with the highest of all that is known. */
export function history(name, from, fresh = false) {
  const key = `${name} history ${from}`;
  if (fresh) kept.delete(key);
  return keep(key, () => get(`${counterPath(name)}/history?from=${from}`));
}
