// The curve of a day: today with yesterday and last week behind it, events as marks, gaps as gaps; and the same as a
// table, for those who do not see a canvas. Drawn by uPlot; ticks and labels are ours, since uPlot's own take the
// viewer's zone.

import { h, put, say } from "./dom.js";
import * as past from "./past.js";
import { clock, clockAtEnd, fromWall, now, shownAt, today, wall } from "./time.js";
import { compact, number, t } from "./words.js";

const HOUR = 3_600_000;
/** Milliseconds between two drawings: a day's pixel is a minute or more. */
const REDRAW = 10_000;
/** The same where the value has moved far enough to be seen. */
const MOVED = 2000;
const LINES = ["today", "yesterday", "lastWeek"];

/** Distances between two labels of values: whole numbers. */
const WHOLE = Array.from({ length: 19 }, (_, power) => [1, 2, 5].map((digit) => digit * 10 ** power)).flat();

const kiosk = () => document.documentElement.classList.contains("kiosk");
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** Makes a curve. `show(name)` loads and shows a counter's, `tick(value)` moves its end. */
export function makeChart() {
  const stage = h("div", { class: "stage", tabindex: "0", role: "img" });
  const legend = h("ul", { class: "legend" });
  const whole = h("button", { type: "button", class: "quiet", hidden: true, onclick: () => reset() }, t("zoomed"));
  const note = h("p", { class: "note", hidden: true });
  const table = h("div", { class: "scroll", tabindex: "0" });
  const details = h("details", { class: "astable", ontoggle: () => details.open && fillTable() }, h("summary", {}, t("table")), table);
  const marks = h("ul", { class: "events" });
  const element = h("figure", { class: "chart" }, stage, h("div", { class: "under" }, legend, whole), note, marks, details);

  const readings = Object.fromEntries(LINES.map((line) => [line, h("b")]));
  const at = h("span", { class: "at" });
  put(legend, at, ...LINES.map((line) => h("li", { class: `line ${line}` }, h("span", {}, t(line)), readings[line])));

  let name = "", plot = null, data = null, events = [], end = null, drawn = 0, drawnEnd = 0, gone = false, generation = 0;

  function build(width) {
    const ink = colour("soft"), grid = { stroke: colour("line"), width: 1 };
    const font = `${kiosk() ? 16 : 12}px ${getComputedStyle(document.body).fontFamily}`;
    const points = { show: false };
    const options = {
      width, height: height(width), padding: [12, 24, 0, 0], legend: { show: false },
      cursor: { points: { size: 7 }, drag: { x: true, y: false } },
      // Instants, in milliseconds; a scale of time would bring the viewer's zone in.
      scales: { x: { time: false }, y: { range: yRange } },
      axes: [
        { stroke: ink, grid: { show: false }, ticks: { ...grid, size: 5 }, font, size: 32, splits: hours, values: (_, splits) => splits.map(clock) },
        { stroke: ink, grid, ticks: { show: false }, font, size: yWidth, gap: 8, incrs: WHOLE, values: (_, splits) => splits.map((split) => compact(split)) },
      ],
      series: [
        {},
        { stroke: colour("lastweek"), width: 1.5, dash: [5, 5], points },
        { stroke: colour("yesterday"), width: 1.5, points },
        { stroke: colour("accent"), width: 2.5, fill: colour("fill"), points },
      ],
      hooks: { drawClear: [drawGaps], draw: [drawEvents, drawEnd], setCursor: [read], setScale: [noteZoom] },
    };
    plot?.destroy();
    plot = new uPlot(options, columns(), stage);
  }

  const height = (width) => {
    return kiosk() ? Math.max(220, Math.round(innerHeight * 0.38)) : width < 520 ? 220 : 320;
  };

  function yRange(_, low, high) {
    if (low === null || high === null) return [0, 10];
    const room = Math.max((high - Math.min(low, 0)) * 0.08, 1);
    // From 0, unless what there is to see would be a flat line at the top.
    const floor = low >= 0 && low < high * 0.7 ? 0 : Math.max(low - (high - low) * 0.4 - 1, low >= 0 ? 0 : -Infinity);
    return [floor, high + room];
  }

  // As wide as its longest label.
  const yWidth = (_, labels) => 16 + 7 * Math.max(2, ...(labels ?? []).map((label) => label.length));

  // The local clock's round hours, as instants.
  function hours(u, _, from, to) {
    const fits = Math.max(2, Math.floor(u.bbox.width / devicePixelRatio / 72));
    const step = [0.25, 0.5, 1, 2, 3, 4, 6, 12].map((many) => many * HOUR).find((many) => (to - from) / many <= fits) ?? 24 * HOUR;
    const found = [];
    for (let shown = Math.ceil(wall(from) / step) * step; ; shown += step) {
      const instant = fromWall(shown);
      if (instant !== null && instant > to || shown > wall(to) + 2 * HOUR) return found;
      if (instant !== null && instant >= from) found.push(instant);
    }
  }

  function columns() {
    if (!data) return [[0, 1], [null, null], [null, null], [null, null]];
    const current = data.today.slice();
    const last = place();
    if (end !== null && last >= 0) current[last] = Number(end);
    return [data.at, data.lastWeek, data.yesterday, current];
  }

  // Where the value of now belongs: the step under way.
  const place = () => data.at.findIndex((at) => at > now());

  function drawGaps(u) {
    if (!data) return;
    const { ctx, bbox } = u;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.fillStyle = colour("gap");
    for (const [from, to] of gaps()) {
      const left = u.valToPos(from, "x", true), right = u.valToPos(to, "x", true);
      ctx.fillRect(left, bbox.top, right - left, bbox.height);
    }
    ctx.restore();
  }

  // From the last value before to the first after; what was before the first value of the day is none.
  function gaps() {
    const found = [];
    let from = null;
    data.at.forEach((at, number) => {
      if (at - past.STEP > now() || data.today[number] === null) return;
      if (from !== null && at - from > past.STEP) found.push([from, at]);
      from = at;
    });
    return found;
  }

  function drawEvents(u) {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = colour("event");
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
    for (const event of events) {
      const x = u.valToPos(Date.parse(event.at), "x", true);
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top + 6 * devicePixelRatio);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      const size = 4 * devicePixelRatio;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top - size);
      ctx.lineTo(x + size, bbox.top);
      ctx.lineTo(x, bbox.top + size);
      ctx.lineTo(x - size, bbox.top);
      ctx.fill();
    }
    ctx.restore();
  }

  // A dot where the day is now.
  function drawEnd(u) {
    if (!data || end === null) return;
    const { ctx, bbox } = u;
    const x = u.valToPos(data.at[place()] ?? now(), "x", true), y = u.valToPos(Number(end), "y", true);
    if (!(x >= bbox.left && x <= bbox.left + bbox.width)) return;
    ctx.save();
    ctx.fillStyle = colour("accent");
    ctx.beginPath();
    ctx.arc(x, y, 4 * devicePixelRatio, 0, 7);
    ctx.fill();
    ctx.restore();
  }

  function read(u) {
    const place = u.cursor.idx;
    const has = data && place !== null && place !== undefined && u.cursor.left >= 0;
    say(at, has ? clockAtEnd(data.at[place]) : "");
    const columns = has ? u.data : null;
    [["today", 3], ["yesterday", 2], ["lastWeek", 1]].forEach(([line, column]) => {
      const value = columns?.[column][place];
      say(readings[line], value === null || value === undefined ? "" : number(value));
    });
  }

  function noteZoom(u, scale) {
    if (scale !== "x" || !data) return;
    const { min, max } = u.scales.x;
    whole.hidden = !(min > data.at[0] || max < data.at.at(-1));
  }

  function reset() {
    plot?.setScale("x", { min: data.at[0], max: data.at.at(-1) });
    stage.focus();
  }

  function draw(force) {
    const time = performance.now();
    const { min, max } = plot?.scales.y ?? {};
    const least = Math.abs(Number(end) - drawnEnd) > (max - min) / 100 ? MOVED : REDRAW;
    if (gone || document.hidden || !data || (!force && time - drawn < least)) return;
    drawn = time;
    drawnEnd = Number(end);
    const width = stage.clientWidth;
    if (!width) return;
    if (!plot) build(width);
    else {
      const isWhole = whole.hidden;
      const { min, max } = plot.scales.x;
      plot.setData(columns(), isWhole);
      if (!isWhole) plot.setScale("x", { min, max });
    }
  }

  function fillTable() {
    if (!data) return;
    const [instants, lastWeek, yesterday, current] = columns();
    const cell = (value) => h("td", {}, value === null || value === undefined ? t("unknown") : number(value));
    const rows = instants.flatMap((instant, place) => {
      if (place === 0 || shownAt(instant) % HOUR !== 0) return [];
      return h("tr", {}, h("th", { scope: "row" }, clockAtEnd(instant)), cell(instant - past.STEP > now() ? null : current[place]), cell(yesterday[place]), cell(lastWeek[place]));
    });
    put(table, h("table", {}, h("caption", {}, t("tableCaption", { name })),
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("time")), ...LINES.map((line) => h("th", { scope: "col" }, t(line))))),
      h("tbody", {}, ...rows)));
  }

  function listEvents() {
    put(marks, ...events.map((event) => h("li", {}, eventText(event))));
    marks.hidden = !events.length;
  }

  stage.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!way || !plot || !data) return;
    event.preventDefault();
    const from = plot.cursor.left >= 0 ? plot.cursor.idx : place();
    const to = Math.min(data.at.length - 1, Math.max(0, (from < 0 ? data.at.length - 1 : from) + way * (event.shiftKey ? 12 : 1)));
    plot.setCursor({ left: plot.valToPos(data.at[to], "x"), top: 10 });
    stage.setAttribute("aria-label", `${clockAtEnd(data.at[to])}: ${LINES.map((line) => `${t(line)} ${readings[line].textContent || t("unknown")}`).join(", ")}`);
  });

  const resized = new ResizeObserver(() => {
    const width = stage.clientWidth;
    if (plot && width && width !== plot.width) plot.setSize({ width, height: height(width) });
    else if (!plot) draw(true);
  });
  resized.observe(stage);

  return {
    element,
    /** Loads and shows a counter; with `fresh` what may have changed is read anew. Returns whether it could be read. */
    async show(counter, fresh = false) {
      const mine = ++generation;
      if (counter !== name) {
        name = counter;
        end = null;
        data = null;
        plot?.destroy();
        plot = null;
      }
      stage.setAttribute("aria-label", `${t("curve", { name })}. ${t("curveKeys")}`);
      table.setAttribute("aria-label", t("tableCaption", { name }));
      const { startsAt, endsAt, day } = today();
      let courses, records;
      try {
        courses = await Promise.all([past.day(name, 0, fresh), past.day(name, 1), past.day(name, 7)]);
        records = await past.history(name, day, fresh).catch(() => ({ days: [] }));
      } catch (error) {
        if (mine === generation) {
          say(note, t(error.code === "corrupt_record" ? "corrupt" : "noCourse"));
          note.hidden = false;
          element.classList.add("empty");
        }
        return mine !== generation;
      }
      if (mine !== generation || gone) return true;
      const at = past.steps(startsAt, endsAt);
      const own = new Map(courses[0].at.map((begin, number) => [begin + past.STEP, courses[0].last[number]]));
      const ghosts = [past.byLocalTime(courses[1], 1), past.byLocalTime(courses[2], 7)];
      data = {
        at,
        today: at.map((instant) => own.get(instant) ?? null),
        yesterday: at.map((instant) => ghosts[0].get(shownAt(instant)) ?? null),
        lastWeek: at.map((instant) => ghosts[1].get(shownAt(instant)) ?? null),
      };
      events = records.days.find((record) => record.date === day)?.events ?? [];
      note.hidden = courses[0].followed;
      say(note, t("notFollowed"));
      element.classList.toggle("empty", !courses[0].followed);
      listEvents();
      draw(true);
      if (details.open) fillTable();
      return true;
    },
    /** The value is this now. */
    tick(value) {
      end = value;
      // The steps that pass while the page is open become part of the curve.
      if (data && value !== null) {
        const last = place();
        if (last >= 0) data.today[last] = Number(value);
      }
      draw(false);
    },
    /** The colours or the size of all are others. */
    restyle() {
      if (plot && stage.clientWidth) build(stage.clientWidth);
    },
    drop() {
      gone = true;
      generation += 1;
      resized.disconnect();
      plot?.destroy();
      plot = null;
    },
  };
}

/** An event in words: `14:05 adjusted 7 → 9: two test rounds`. */
export function eventText(event, when = clock) {
  const change = t("eventChange", { before: number(event.before), after: number(event.after) });
  return [
    h("time", { datetime: event.at }, when(Date.parse(event.at))), " ",
    h("b", {}, t(`event_${event.kind}`)), " ",
    event.kind === "creation" ? "" : change, event.reason ? `: ${event.reason}` : "",
  ];
}
