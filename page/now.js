// Now: a card for each counter, and the day of the one that was chosen.

import { denied, get } from "./api.js";
import { makeCard, makeFacts, makeSearch, kindText, stateText, valueText } from "./card.js";
import { makeChart } from "./chart.js";
import { h, put, say } from "./dom.js";
import { asName, find } from "./find.js";
import * as live from "./live.js";
import { go, state } from "./state.js";
import { t } from "./words.js";

/** Cards at once: as many counters as one connection may watch. */
const MOST = 100;
/** Shown first, unless another was chosen. */
const FIRST = "online_players";
/** Milliseconds after which the list of counters is read anew. */
const RELIST = 60_000;
/** Counters that are known at most, out of which the cards are taken. */
const KNOWN = 1000;
/** Milliseconds without a key after which a search begins. */
const TYPING = 200;
/** Milliseconds after which the curve's past is read anew. */
const RELOAD = 300_000;
/** The same when it could not be read. */
const RELOAD_FAILED = 10_000;

/** Makes the view. */
export function makeNow() {
  const title = h("h1"), kind = h("span", { class: "kind" }), shown = h("p", { class: "value big" }, "–"), word = h("p", { class: "state" }), description = h("p", { class: "description" });
  const factsPlace = h("div");
  const chart = makeChart();
  const hero = h("section", { class: "hero", hidden: true }, h("div", { class: "say" }, title, kind, shown, word, description, factsPlace), chart.element);
  const search = makeSearch();
  const cards = h("ul", { class: "cards" });
  const note = h("p", { class: "note", hidden: true });
  const first = h("div");
  const element = h("div", { class: "view now" }, first, hero, h("div", { class: "bar" }, h("h2", {}, t("counters")), search), note, cards);

  let counters = [], complete = true, fitsAll = true, generation = 0, searching = null, made = new Map(), chosen = "", facts = null, listed = 0, reloaded = 0, dropped = false;

  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) target.card?.see(isIntersecting);
  }, { rootMargin: "200px" });

  async function list() {
    listed = Date.now();
    const mine = ++generation;
    const isWanted = () => mine === generation && !dropped;
    const q = fitsAll ? "" : asName(state().q);
    const found = await find(q, KNOWN, isWanted);
    if (!isWanted()) return;
    if (!q) fitsAll = found.complete;
    if (!q && !fitsAll && asName(state().q)) return list();
    const pinned = found.complete && !q ? [] : await readPinned(found.counters);
    if (!isWanted()) return;
    complete = found.complete;
    counters = [...pinned, ...found.counters];
    arrange();
    for (const counter of counters) if (made.has(counter.name) || counter.name === chosen) live.take(counter);
  }

  // Those that were pinned or chosen, and the one shown first, may be beyond the part of the list that was read.
  async function readPinned(known) {
    const { pin, counter } = state();
    const lacking = [...new Set([counter, FIRST, ...pin])].filter((name) => name && !known.some((one) => one.name === name)).slice(0, 10);
    if (!lacking.length) return [];
    return (await get(`/api/v1/counters?names=${encodeURIComponent(lacking.join(","))}`).catch(() => ({ counters: [] }))).counters;
  }

  function arrange() {
    const { q, pin, counter } = state();
    const place = (name) => (pin.includes(name) ? pin.indexOf(name) : pin.length);
    const fits = counters.filter(({ name }) => pin.includes(name) || name.includes(asName(q)));
    const order = fits.toSorted((a, b) => place(a.name) - place(b.name));
    const names = order.slice(0, MOST).map(({ name }) => name);
    const isThere = (name) => counters.some((known) => known.name === name);
    chosen = [counter, pin[0], FIRST, names[0]].find((name) => name && isThere(name)) ?? "";
    const old = made;
    made = new Map();
    for (const name of names) {
      const pinned = pin.includes(name);
      const kept = old.get(name);
      if (kept && kept.pinned === pinned) made.set(name, kept);
      else {
        const card = makeCard(name, { pinned, onPin: togglePin });
        card.pinned = pinned;
        card.element.card = card;
        made.set(name, card);
        seen.observe(card.element);
      }
    }
    for (const [name, card] of old) if (made.get(name) !== card) seen.unobserve(card.element);
    const wanted = [...made.values()].map((card) => card.element);
    if (wanted.length !== cards.children.length || wanted.some((item, place) => item !== cards.children[place])) put(cards, ...wanted);
    note.hidden = names.length === counters.length && complete;
    say(note, names.length ? t("shownOf", { shown: names.length, all: complete ? counters.length : `${counters.length}+` }) : t("noneFound", { q }));
    hero.hidden = !chosen;
    live.watch([...new Set([chosen, ...names].filter(Boolean))].slice(0, MOST));
    for (const counter of counters) if (made.has(counter.name)) live.take(counter);
    choose();
    greet();
  }

  function togglePin(name) {
    const { pin } = state();
    go({ pin: pin.includes(name) ? pin.filter((other) => other !== name) : [...pin, name] }, { replace: true });
    made.get(name)?.element.querySelector(".pin")?.focus();
  }

  function choose() {
    for (const [name, card] of made) card.select(name === chosen);
    if (!chosen || facts?.name === chosen) return;
    // On a small screen the card that was chosen may be far below.
    if (facts) hero.scrollIntoView({ block: "nearest" });
    facts = Object.assign(makeFacts(chosen), { name: chosen });
    put(factsPlace, facts.element);
    put(title, chosen);
    say(description, counters.find(({ name }) => name === chosen)?.definition?.description ?? "");
    description.hidden = !description.textContent;
    showHero();
    reload(false);
  }

  function reload(fresh) {
    reloaded = Date.now();
    facts?.load(fresh);
    if (!chosen) return;
    chart.show(chosen, fresh).then((isShown) => {
      if (!isShown) reloaded = Date.now() - RELOAD + RELOAD_FAILED;
    });
  }

  function showHero() {
    const counter = live.value(chosen);
    if (!counter) return;
    say(kind, kindText(counter));
    const text = valueText(counter);
    if (shown.textContent.length !== text.length) shown.style.setProperty("--chars", Math.max(4, text.length));
    say(shown, text);
    say(word, stateText(counter));
    hero.classList.toggle("old", Boolean(counter.stale));
    facts?.show();
    chart.tick(counter.value ?? null);
  }

  // Who has nothing yet is told how to begin.
  function greet() {
    const untouched = counters.every((counter) => !Number(counter.value)) && counters.every((counter) => Number(counter.revision) <= counters.length);
    if (!untouched || state().kiosk) return put(first);
    const call = `curl -X POST ${location.origin}/api/v1/counter/online_players/increment`;
    put(first, h("section", { class: "first" }, h("h1", {}, t(counters.length ? "firstTitle" : "emptyTitle")), h("p", {}, t(counters.length ? "firstText" : "emptyText")), h("pre", { tabindex: "0" }, h("code", {}, call))));
  }

  const stop = live.listen((event, data) => {
    if (dropped) return;
    if (event === "value") {
      made.get(data)?.show();
      if (data === chosen) showHero();
      if (first.firstChild && Number(live.value(data)?.value)) put(first);
    }
    if (event === "again") reload(true);
  });

  const timer = setInterval(() => {
    if (document.hidden) return;
    if (Date.now() - listed > RELIST) list().catch(() => {});
    if (Date.now() - reloaded > RELOAD) {
      reload(true);
      for (const card of made.values()) card.refresh(true);
    }
    facts?.minute();
    for (const card of made.values()) card.minute();
  }, 1000);

  const wake = () => {
    if (document.hidden) return;
    list().catch(() => {});
    reload(true);
  };
  document.addEventListener("visibilitychange", wake);

  let asked = state().q;
  return {
    element,
    async begin() {
      try {
        await list();
      } catch (error) {
        if (denied()) put(first, h("section", { class: "first" }, h("h1", {}, t("denied")), h("p", {}, t("deniedText"))));
        throw error;
      }
    },
    /** The address is another. */
    update() {
      if (state().q !== asked) {
        asked = state().q;
        if (search.value !== asked) search.value = asked;
        clearTimeout(searching);
        if (!fitsAll) searching = setTimeout(() => list().catch(() => {}), TYPING);
      }
      arrange();
    },
    /** The local day is another. */
    turn() {
      facts?.forget();
      reload(true);
      for (const card of made.values()) card.turn();
    },
    restyle: () => chart.restyle(),
    drop() {
      dropped = true;
      clearTimeout(searching);
      stop();
      clearInterval(timer);
      document.removeEventListener("visibilitychange", wake);
      seen.disconnect();
      chart.drop();
      live.watch([]);
    },
  };
}
