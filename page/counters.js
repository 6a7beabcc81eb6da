// Counters: find one, see how it is defined and what happened to it, and administer it.

import { get, token } from "./api.js";
import { kindText, makeSearch, stateText, valueText } from "./card.js";
import { eventText } from "./chart.js";
import { makeDefine, makeDeeds } from "./deeds.js";
import { h, put, say } from "./dom.js";
import { asName, find } from "./find.js";
import * as live from "./live.js";
import { address, go, state } from "./state.js";
import { dateTime } from "./time.js";
import { number, t } from "./words.js";

const PAGE = 200;
/** Events shown of one counter. */
const EVENTS = 200;
/** Milliseconds after which the list is read anew. */
const RELIST = 60_000;

/** Makes the view. */
export function makeCounters({ askToken }) {
  const search = makeSearch();
  const items = h("ul", { class: "list" });
  const note = h("p", { class: "note", hidden: true });
  const more = h("button", { type: "button", class: "quiet", hidden: true, onclick: () => list(most + PAGE) }, t("more"));
  const detail = h("div", {});
  const define = h("div", {});
  const element = h("div", { class: "view" }, h("div", { class: "bar" }, h("h1", {}, t("counters")), search),
    h("div", { class: "split" }, h("div", {}, h("section", { class: "panel", "aria-label": t("counters") }, note, items, more), define), detail));

  let counters = [], most = PAGE, generation = 0, asked = null, shown = null, dropped = false, searching = null, begun = false;

  async function list(wanted = most) {
    const mine = ++generation;
    asked = state().q;
    most = wanted;
    const isWanted = () => mine === generation && !dropped;
    // One more than is shown tells that there are more.
    const found = await find(asName(asked), most + 1, isWanted);
    if (!isWanted()) return;
    counters = found.counters.slice(0, most);
    more.hidden = found.counters.length <= most;
    note.hidden = counters.length > 0 && (found.complete || !more.hidden);
    say(note, note.hidden ? "" : !counters.length ? t(asked ? "noneFound" : "emptyTitle", { q: asked }) : t("notAll"));
    show();
  }

  function show() {
    const { counter } = state();
    put(items, ...counters.map((one) => h("li", {}, h("a", { href: address({ counter: one.name }), "data-go": "", "data-name": one.name, "aria-current": one.name === counter ? "true" : null },
      h("span", { class: "name" }, one.name, h("span", { class: "kind" }, one.corrupt ? t("corrupt") : kindText(one))), h("span", { class: "num" }, valueText(one))))));
  }

  async function open(name) {
    if (!name) {
      shown = null;
      live.watch([]);
      return put(detail, h("section", { class: "panel" }, h("p", { class: "note" }, t("choose"))));
    }
    const isSame = shown?.name === name;
    const mine = shown = isSame ? shown : { name };
    let counter, records;
    try {
      const all = await get(`/api/v1/counters/all?limit=1&prefix=${encodeURIComponent(name)}`);
      counter = all.counters.find((one) => one.name === name);
      if (!counter) counter = await get(`/api/v1/counter/${encodeURIComponent(name)}`);
      records = (await get(`/api/v1/counter/${encodeURIComponent(name)}/history`).catch(() => ({ days: [] }))).days;
    } catch (error) {
      if (mine !== shown || dropped) return;
      return put(detail, h("section", { class: "panel" }, h("h2", {}, name), h("p", { class: "note" }, error.detail)));
    }
    if (mine !== shown || dropped) return;
    mine.value ??= h("p", { class: "value" });
    mine.state ??= h("p", { class: "state" });
    mine.changed ??= h("dd");
    live.watch([name]);
    live.take(counter);
    const events = records.flatMap((record) => [...(record.events ?? [])].reverse()).slice(0, EVENTS);
    mine.deeds ??= h("div");
    put(detail,
      h("section", { class: "panel" }, h("h2", {}, name), h("p", { class: "description" }, counter.definition?.description ?? ""), mine.value, mine.state, definition(counter, mine.changed)),
      mine.deeds,
      h("section", { class: "panel" }, h("h2", {}, t("recentEvents")), events.length ? h("ul", { class: "events" }, ...events.map((event) => h("li", {}, eventText(event, dateTime)))) : h("p", { class: "note" }, t("noRecentEvents"))));
    showValue();
    if (isSame) return;
    administer(counter);
    // On a small screen it stands below a list that may be long.
    if (begun) detail.scrollIntoView({ block: "nearest" });
  }

  function administer(counter) {
    const changed = () => {
      list().catch(() => {});
      open(state().counter);
    };
    if (!token()) {
      return put(define, h("section", { class: "panel" }, h("h2", {}, t("admin")), h("p", { class: "note" }, t("adminText")), h("button", { type: "button", onclick: () => askToken() }, t("enterToken"))));
    }
    if (shown) put(shown.deeds, makeDeeds(counter, changed));
    put(define, makeDefine((name) => go({ counter: name })));
  }

  function showValue() {
    const counter = shown && live.value(shown.name);
    if (!counter || !shown.value) return;
    say(shown.value, valueText(counter));
    say(shown.state, stateText(counter));
    if (counter.last_updated) say(shown.changed, dateTime(Date.parse(counter.last_updated)));
  }

  const stop = live.listen((event, name) => event === "value" && name === shown?.name && showValue());

  const timer = setInterval(() => document.hidden || list().catch(() => {}), RELIST);

  return {
    element,
    async begin() {
      administer();
      await Promise.all([list(), open(state().counter)]);
      begun = true;
    },
    update() {
      const { q, counter } = state();
      if (q !== asked) {
        if (search.value !== q) search.value = q;
        clearTimeout(searching);
        searching = setTimeout(() => list(PAGE).catch(() => {}), 200);
      }
      if (counter !== (shown?.name ?? "")) open(counter);
      show();
    },
    turn: () => open(state().counter),
    drop() {
      dropped = true;
      clearInterval(timer);
      clearTimeout(searching);
      stop();
      live.watch([]);
    },
  };
}

function definition(counter, changed) {
  const { definition } = counter;
  const row = (word, text) => h("div", {}, h("dt", {}, t(word)), text instanceof Node ? text : h("dd", {}, text));
  if (!definition) return h("dl", { class: "facts" }, row("kind", kindText(counter)), row("lastChange", changed));
  return h("dl", { class: "facts" },
    row("kind", t(definition.kind)), row("reset", t(definition.reset === "daily" ? "dailyWord" : "neverWord")),
    definition.window && row("windowWord", definition.window), definition.grain && row("grain", definition.grain), definition.ttl && row("ttl", definition.ttl),
    row("bounds", t("boundsText", { min: number(definition.min), max: number(definition.max) })), row("onBound", t(definition.on_bound)),
    row("expires", definition.expires_at ? dateTime(Date.parse(definition.expires_at)) : t("neverWord")), row("lastChange", changed));
}
