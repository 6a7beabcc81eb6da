// Days: what each local day of a counter was, and how it compares with the day before; as a table and as CSV.

import { get } from "./api.js";
import { h, minus, put, say } from "./dom.js";
import { asName, find } from "./find.js";
import { address, go, state } from "./state.js";
import { addDays, clock, dayText, isWeekend, today, wall } from "./time.js";
import { delta, number, signed, t } from "./words.js";

const RANGES = [7, 30, 90];
/** Counters to choose from in a list; of more, names are typed. */
const LISTED = 1000;
/** Names that are offered while one is typed. */
const OFFERED = 50;

/** Makes the view. */
export function makeDays() {
  let choose = h("select", { "aria-label": t("counter"), onchange: () => go({ counter: choose.value }) });
  const ranges = h("div", { class: "chips", role: "group", "aria-label": t("day") });
  const csv = h("button", { type: "button", title: t("csvTitle"), onclick: save }, t("csv"));
  const title = h("h1", {}, t("days"));
  const note = h("p", { class: "note", hidden: true });
  const place = h("div", { class: "scroll tall", tabindex: "0" });
  const element = h("div", { class: "view" }, h("div", { class: "bar" }, title, choose, ranges, csv), note, h("section", { class: "panel" }, place));

  let names = [], rows = [], name = "", generation = 0, dropped = false, typing = null;

  async function begin() {
    const { counters, complete } = await find("", LISTED);
    if (dropped) return;
    names = counters.map((counter) => counter.name);
    const { counter } = state();
    if (counter && !names.includes(counter)) names.unshift(counter);
    if (complete) put(choose, ...options(names));
    else letType();
    await update();
  }

  const options = (all) => all.map((known) => h("option", { value: known }, known));

  function letType() {
    const offered = h("datalist", { id: "names" }, ...options(names.slice(0, OFFERED)));
    const typed = h("input", {
      type: "search", list: "names", "aria-label": t("counter"), autocomplete: "off", spellcheck: "false", maxlength: "100",
      onchange: () => asName(typed.value) && go({ counter: asName(typed.value) }),
      oninput: () => {
        clearTimeout(typing);
        typing = setTimeout(offer, 200);
      },
    });
    async function offer() {
      const text = asName(typed.value);
      const { counters } = await find(text, OFFERED, () => text === asName(typed.value) && !dropped).catch(() => ({ counters: [] }));
      if (text === asName(typed.value)) put(offered, ...options(counters.slice(0, OFFERED).map((counter) => counter.name)));
    }
    choose.replaceWith(typed, offered);
    choose = typed;
  }

  async function update() {
    const { counter, days } = state();
    name = counter || names[0] || "";
    if (choose !== document.activeElement || choose.value === "" || choose.tagName === "SELECT") choose.value = name;
    put(ranges, ...RANGES.map((n) => h("a", { href: address({ days: n }), "data-go": "", "aria-current": n === days ? "true" : null }, t("lastDays", { n }))));
    csv.disabled = true;
    if (!name || !today()) return put(place, h("p", { class: "note" }, t("noDays")));
    const mine = ++generation;
    const last = today().day, first = addDays(last, 1 - days);
    let records;
    try {
      // One day more, so that the first has one to compare with.
      records = (await get(`/api/v1/counter/${encodeURIComponent(name)}/history?from=${addDays(first, -1)}`)).days;
    } catch (error) {
      if (mine !== generation || dropped) return;
      say(note, t("failed", { detail: error.detail }));
      note.hidden = false;
      return put(place);
    }
    if (mine !== generation || dropped) return;
    note.hidden = true;
    rows = makeRows(records, first, last);
    if (rows.every((row) => !row.record)) return put(place, h("p", { class: "note" }, t("noDays")));
    csv.disabled = false;
    show(days);
  }

  function show(days) {
    const highest = Math.max(1, ...rows.map((row) => Number(row.value ?? 0)));
    const columns = ["day", "final", "", "dayOverDay", "peak", "low", "added", "taken", "operations", "eventCount"];
    const isAway = rows.some((row) => row.record?.away_seconds >= 60);
    if (isAway) columns.push("away");
    const head = columns.map((column) => (column ? h("th", { scope: "col" }, t(column)) : h("td", {})));
    put(place, h("table", { class: "days" }, h("caption", {}, t("daysCaption", { name, n: days })), h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...rows.map((row) => line(row, highest, isAway)))));
    place.setAttribute("aria-label", t("daysCaption", { name, n: days }));
  }

  function line({ date, value, before, record, underWay }, highest, isAway) {
    const bar = h("div", { class: "meter" });
    bar.style.width = `${Math.max(0, (Number(value ?? 0) / highest) * 100)}%`;
    const isCompared = isWhole({ value, before, record, underWay });
    const change = isCompared ? delta(value, before) : null;
    const says = (text) => h("td", {}, text);
    const extreme = (what) => h("td", {}, number(record[what]), h("span", { class: "small" }, clock(Date.parse(record[`${what}_at`]))));
    const cells = record && !record.corrupt
      ? [extreme("peak"), extreme("low"), says(number(record.increments)), says(number(record.decrements)), says(number(record.operations)), says(record.events_total ? number(record.events_total) : "")]
      : [h("td", { colspan: "6", class: "small" }, record ? t("unreadable") : t("noChange"))];
    if (isAway) cells.push(says(record?.away_seconds >= 60 ? t("awayMinutes", { n: number(Math.round(record.away_seconds / 60)) }) : ""));
    return h("tr", { class: isWeekend(date) ? "weekend" : null },
      h("th", { scope: "row" }, dayText(date), underWay && h("span", { class: "small" }, " ", t("underWay"))),
      says(value === null ? t("unknown") : number(value)), h("td", { class: "barcell", "aria-hidden": "true" }, bar),
      h("td", {}, change && h("span", { class: `delta ${change.way}` }, Number(before) === 0 ? change.text : `${signed(minus(value, before))} (${change.text})`)), ...cells);
  }

  function save() {
    const stamp = (text) => new Date(wall(Date.parse(text))).toISOString().slice(0, 19).replace("T", " ");
    const head = ["date", "closed", "opening", "final_value", "day_over_day", "peak", "peak_at", "low", "low_at", "increments", "decrements", "operations", "events", "away_seconds", "note"];
    const lines = rows.map((row) => {
      const { date, value, before, record } = row;
      const change = isWhole(row) ? minus(value, before) : "";
      if (!record || record.corrupt) return [date, "", "", value ?? "", change, ...Array(9).fill(""), record ? "unreadable" : "no change"];
      return [
        date, record.closed, record.opening, value, change, record.peak, stamp(record.peak_at), record.low, stamp(record.low_at),
        record.increments, record.decrements, record.operations, record.events_total, record.away_seconds, row.underWay ? "under way" : "",
      ];
    });
    // The mark of the encoding, for spreadsheets.
    const text = `\uFEFF${[head, ...lines].map((cells) => cells.join(",")).join("\r\n")}\r\n`;
    const link = h("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" })), download: `${name.replaceAll(":", "_")} ${rows.at(-1).date} ${rows[0].date}.csv` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  const timer = setInterval(() => document.hidden || update(), 60_000);

  return {
    element, begin, update,
    turn: update,
    drop() {
      dropped = true;
      clearInterval(timer);
      clearTimeout(typing);
    },
  };
}

/** Whether a day is compared with the one before. One that is under way is not yet to be compared with a whole one. */
const isWhole = ({ value, before, record, underWay }) => Boolean(record) && !underWay && value !== null && before !== null;

/** A row for each day, newest first. A day without a change has the value that held, or 0 where a day begins with 0. */
function makeRows(records, first, last) {
  const known = new Map(records.map((record) => [record.date, record]));
  const isDaily = records[0]?.reset === "daily";
  const rows = [];
  let held = null;
  const oldest = records.at(-1)?.date ?? last;
  for (let date = addDays(first, -1); date <= last; date = addDays(date, 1)) {
    const record = known.get(date);
    let value = null;
    if (record && !record.corrupt) value = record.final_value;
    else if (!record && date > oldest) value = isDaily ? 0 : held;
    if (date >= first) rows.unshift({ date, value, before: held, record, underWay: date === last });
    held = value;
  }
  return rows;
}
