// A card for a counter: what it says now, beside the same minute of yesterday and of last week, and its peaks.

import { h, minus, say, svg } from "./dom.js";
import { value as latest } from "./live.js";
import * as past from "./past.js";
import { address, go, state } from "./state.js";
import { clock, dateText, moment, now, shownAt, today, wall } from "./time.js";
import { delta, number, t } from "./words.js";

const SPARK = { width: 240, height: 44 };

/** Whether a counter starts at 0 each day, so that "so far" is what compares. */
export const isDaily = (counter) => counter?.reset === "daily";

/** What kind of number it is, in a few words. */
export function kindText(counter) {
  const parts = [t(counter.kind ?? "")];
  if (isDaily(counter)) parts.push(t("daily"));
  if (counter.window) parts.push(t("window", { span: counter.window.span }));
  return parts.filter(Boolean).join(" · ");
}

/** One row of facts: a word, a value, and what it means against the value of now. */
function fact() {
  const word = h("dt"), text = h("span"), change = h("span", { class: "delta" });
  return {
    row: h("div", {}, word, h("dd", {}, text, " ", change)),
    set(label, shown, against) {
      say(word, label);
      say(text, shown);
      say(change, against?.text ?? "");
      change.className = `delta ${against?.way ?? ""}`;
    },
  };
}

/** The facts of a counter, as a list that is told of values and of its past. */
export function makeFacts(name) {
  const rows = { yesterday: fact(), lastWeek: fact(), peak: fact(), ever: fact() };
  const element = h("dl", { class: "facts" }, ...Object.values(rows).map(({ row }) => row));
  const then = { yesterday: null, lastWeek: null };
  let peak = null, ever = null, minute = null, loading = false, loaded = false;

  function show() {
    const counter = latest(name);
    if (!counter || !today()) return;
    const value = counter.value;
    const time = clock(now());
    const word = isDaily(counter) ? "By" : "At";
    for (const line of ["yesterday", "lastWeek"]) {
      const known = then[line];
      const isThere = known !== null && value !== null && value !== undefined;
      rows[line].set(t(`${line}${word}`, { time }), known === null ? t("unknown") : number(known), isThere ? delta(value, known) : null);
    }
    // Before the day's record is known, the value of now is no peak.
    if (loaded && value !== null && value !== undefined && !counter.stale) {
      if (peak === null || minus(value, peak.value) > 0) peak = { value, at: now() };
      if (ever !== null && minus(value, ever.value) > 0) ever = { value, date: today().day };
    }
    rows.peak.set(t("peakToday"), peak ? t("at", { value: number(peak.value), time: clock(peak.at) }) : t("unknown"), null);
    rows.ever.set(t("peakEver"), ever ? t("on", { value: number(ever.value), date: dateText(ever.date) }) : t("unknown"), null);
  }

  async function load(fresh) {
    if (loading || !today()) return;
    loading = true;
    minute = Math.floor(wall(now()) / 60_000);
    const day = today().day;
    try {
      const [yesterday, lastWeek, records] = await Promise.all([
        past.valueThen(name, 1), past.valueThen(name, 7), past.history(name, day, fresh),
      ]);
      Object.assign(then, { yesterday, lastWeek });
      const record = records.days.find(({ date }) => date === day);
      if (record && !record.corrupt) peak = { value: record.peak, at: Date.parse(record.peak_at) };
      else peak = null;
      if (records.peak) ever = { value: records.peak.value, date: records.peak.date };
      loaded = true;
    } catch { /* the banner says what is wrong; the next minute asks again */ }
    loading = false;
    show();
  }

  return {
    element,
    show,
    load,
    /** Reads what belongs to the minute, once it is another. */
    minute: () => Math.floor(wall(now()) / 60_000) !== minute && load(true),
    forget() {
      peak = ever = null;
      loaded = false;
      Object.assign(then, { yesterday: null, lastWeek: null });
    },
  };
}

/** A line of a day as a path; gaps are gaps. `from` and `to` are the bounds of the day. */
function line(points, from, to, low, high) {
  const x = (at) => ((at - from) / (to - from)) * SPARK.width;
  const y = (value) => SPARK.height - 2 - ((value - low) / (high - low || 1)) * (SPARK.height - 4);
  let path = "", open = false;
  for (const [at, value] of points) {
    if (value === null) open = false;
    else {
      path += `${open ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
      open = true;
    }
  }
  return path;
}

/** Makes the card. */
export function makeCard(name, { pinned, onPin }) {
  const facts = makeFacts(name);
  const kind = h("span", { class: "kind" }), shown = h("p", { class: "value" }, "–"), state = h("p", { class: "state" });
  const before = svg("path", { class: "before" }), course = svg("path", { class: "course" });
  const spark = svg("svg", { class: "spark", viewBox: `0 0 ${SPARK.width} ${SPARK.height}`, preserveAspectRatio: "none", "aria-hidden": "true" }, before, course);
  const link = h("a", { class: "cover", href: address({ counter: name }), "data-go": "" }, name);
  const pin = h("button", { type: "button", class: "pin", "aria-pressed": String(pinned), "aria-label": t(pinned ? "unpin" : "pin", { name }), title: t(pinned ? "unpin" : "pin", { name }), onclick: () => onPin(name) }, pinned ? "★" : "☆");
  const element = h("li", { class: "card" }, h("div", { class: "head" }, h("h3", {}, link), pin), kind, shown, state, spark, facts.element);
  let visible = false;

  async function drawSpark(fresh) {
    if (!today()) return;
    const { startsAt, endsAt } = today();
    let own, yesterday;
    try {
      [own, yesterday] = await Promise.all([past.day(name, 0, fresh), past.day(name, 1)]);
    } catch { return; }
    const steps = past.steps(startsAt, endsAt);
    const ghost = past.byLocalTime(yesterday, 1);
    const before_ = steps.map((at) => [at, ghost.get(shownAt(at)) ?? null]);
    const course_ = own.at.map((at, place) => [at + past.STEP, own.last[place]]);
    const all = [...before_, ...course_].map(([, value]) => value).filter((value) => value !== null).map(Number);
    if (!all.length) {
      before.removeAttribute("d");
      return course.removeAttribute("d");
    }
    const low = Math.min(...all), high = Math.max(...all);
    before.setAttribute("d", line(before_, startsAt, endsAt, low, high));
    course.setAttribute("d", line(course_, startsAt, endsAt, low, high));
  }

  return {
    name,
    element,
    select(is) {
      element.classList.toggle("chosen", is);
      if (is) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
      link.href = address({ counter: name });
    },
    show() {
      const counter = latest(name);
      if (!counter) return;
      say(kind, kindText(counter));
      say(shown, valueText(counter));
      say(state, stateText(counter));
      element.classList.toggle("old", Boolean(counter.stale));
      facts.show();
    },
    /** It came into sight, or out of it: only what is seen is asked for. */
    see(is) {
      if (is === visible) return;
      visible = is;
      if (is) this.refresh(false);
    },
    refresh(fresh) {
      if (!visible) return;
      facts.load(fresh);
      drawSpark(fresh);
    },
    minute: () => visible && facts.minute(),
    /** The day is another. */
    turn() {
      facts.forget();
      this.refresh(true);
    },
  };
}

/** The field that finds counters; what is in it stands in the address. */
export function makeSearch() {
  return h("input", { type: "search", "aria-label": t("search"), placeholder: t("search"), value: state().q, autocomplete: "off", spellcheck: "false", maxlength: "100", oninput: ({ target }) => go({ q: target.value }, { replace: true }) });
}

/** The value, or why there is none. */
export const valueText = (counter) => (counter.value === null || counter.value === undefined ? "–" : number(counter.value));

/** What to know of a value besides itself. */
export function stateText(counter) {
  if (counter.corrupt) return t("corrupt");
  if (counter.missing) return t("missing");
  if (counter.unknown_here) return t("unknownHere");
  if (counter.stale) return t("stale", { time: moment(Date.parse(counter.as_of)) });
  if (counter.settling) return t("settling");
  return "";
}
