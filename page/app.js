// The frame: which view is shown, the head with zone and time, language, light and dark, and the form for a token.

import { denied, get, setToken, token, whenDenied } from "./api.js";
import * as banner from "./banner.js";
import { makeCounters } from "./counters.js";
import { makeDays } from "./days.js";
import { field, h, put, say } from "./dom.js";
import * as live from "./live.js";
import { makeNow } from "./now.js";
import { forget } from "./past.js";
import { address, choice, go, onChange, state } from "./state.js";
import { clock, now, today } from "./time.js";
import { language, t } from "./words.js";

const VIEWS = { now: makeNow, days: makeDays, counters: makeCounters };
const THEMES = { auto: "themeAuto", light: "themeLight", dark: "themeDark" };

const root = document.documentElement;
const main = document.getElementById("main");
let view = null, shown = "", head = null;

function theme() {
  const wanted = state().theme ?? choice.get("theme") ?? "auto";
  return wanted in THEMES ? wanted : "auto";
}

function dress() {
  const before = `${root.className} ${root.dataset.theme}`;
  root.lang = language();
  root.classList.toggle("kiosk", state().kiosk);
  root.dataset.theme = theme();
  if (before !== `${root.className} ${root.dataset.theme}`) view?.restyle?.();
}

function makeHead() {
  const dot = h("span", { class: "dot", "aria-hidden": "true" }), word = h("span", {}), time = h("time", { class: "clock" }), zone = h("span", { class: "zone", title: t("zoneTitle") });
  const links = Object.keys(VIEWS).map((name) => h("a", { "data-go": "", "data-view": name, href: "" }, t(name)));
  const themes = h("button", { type: "button", class: "quiet", title: t("theme"), onclick: nextTheme });
  const tongue = h("button", { type: "button", class: "quiet", lang: language() === "en" ? "zh-TW" : "en", title: t("languageTo"), onclick: otherLanguage }, t("language"));
  const key = h("button", { type: "button", class: "quiet", onclick: () => askToken() });
  const wall = h("a", { class: "quiet", "data-go": "", title: t("wallTitle"), href: "" }, t("wall"));
  const leave = h("a", { class: "quiet leave", "data-go": "", href: "", "aria-label": t("leaveWall"), title: t("leaveWall") }, "✕");
  put(document.getElementById("top"),
    h("a", { class: "brand", "data-go": "", href: "/" }, h("span", { class: "mark", "aria-hidden": "true" }), "counterd"),
    h("nav", { "aria-label": t("pages") }, ...links),
    h("p", { class: "standing" }, h("span", { class: "link", role: "status" }, dot, word), zone, time),
    h("div", { class: "tools" }, wall, themes, tongue, key), leave);
  return {
    show() {
      const { view } = state();
      for (const link of links) {
        link.href = address({ view: link.dataset.view, q: null });
        if (link.dataset.view === view) link.setAttribute("aria-current", "page");
        else link.removeAttribute("aria-current");
      }
      wall.href = address({ kiosk: "", view: null });
      leave.href = address({ kiosk: null });
      say(themes, t(THEMES[theme()]));
      themes.setAttribute("aria-label", `${t("theme")}: ${t(THEMES[theme()])}`);
      say(key, t(token() ? "tokenSet" : "token"));
    },
    tick() {
      dot.className = `dot ${live.link.state}`;
      say(word, t(live.link.state));
      if (!today()) return;
      say(time, clock(now()));
      say(zone, t("zone", { zone: today().zone, start: today().dayStart }));
    },
  };
}

function nextTheme() {
  const names = Object.keys(THEMES);
  const next = names[(names.indexOf(theme()) + 1) % names.length];
  choice.set("theme", next === "auto" ? null : next);
  go({ theme: state().theme === null ? null : next }, { replace: true });
}

function otherLanguage() {
  const next = language() === "en" ? "zh-TW" : "en";
  choice.set("lang", next);
  go({ lang: state().lang === null ? null : next }, { replace: true });
  rebuild();
  document.querySelector("#top .tools [lang]")?.focus();
}

function askToken(refused = denied()) {
  if (document.querySelector("dialog[open]")) return;
  const input = h("input", { type: "password", autocomplete: "off", spellcheck: "false", value: token(), maxlength: "4096" });
  const fault = h("p", { class: "fault", role: "alert" });
  if (refused?.hadToken) say(fault, t(refused.status === 403 ? "tokenWeak" : "tokenWrong"));
  const use = (text) => {
    setToken(text.trim());
    dialog.close();
    restart();
  };
  const dialog = h("dialog", { "aria-labelledby": "tokenTitle" }, h("form", {
    onsubmit: (event) => {
      event.preventDefault();
      use(input.value);
    },
  }, h("h2", { id: "tokenTitle" }, t(refused ? "denied" : "token")), h("p", {}, t(refused ? "deniedText" : "tokenAdmin")), field(t("tokenField"), input), fault,
  h("div", { class: "buttons" }, h("button", { type: "submit" }, t("tokenUse")), token() && h("button", { type: "button", class: "quiet", onclick: () => use("") }, t("tokenForget")), h("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, t("cancel")))));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

async function showView() {
  const { view: wanted, kiosk } = state();
  const key = `${wanted} ${language()} ${kiosk}`;
  dress();
  head.show();
  document.title = `${t(wanted)} · counterd`;
  if (key === shown) return view?.update?.();
  shown = key;
  stayAwake();
  view?.drop?.();
  const mine = view = VIEWS[wanted]({ askToken });
  put(main, mine.element);
  await start(mine);
}

async function start(mine) {
  try {
    await mine.begin();
  } catch (error) {
    if (mine !== view || error.status === 401 || error.status === 403) return;
    const notice = h("div", { class: "note" }, t("failed", { detail: error.detail ?? String(error) }), " ", t("retrying"));
    main.prepend(notice);
    setTimeout(() => {
      notice.remove();
      if (mine === view) start(mine);
    }, 3000);
  }
}

function rebuild() {
  head = makeHead();
  head.tick();
  put(document.getElementById("foot"), h("p", {}, t("about")), h("p", {}, h("a", { href: "/page/uPlot.LICENSE.txt" }, t("licence"))));
  document.querySelector(".skip").textContent = t("skip");
  banner.restate();
  showView();
}

/** Everything anew: the token is another, or may be right now. */
async function restart() {
  forget();
  shown = "";
  view?.drop?.();
  view = null;
  put(main);
  await banner.look({ anew: true });
  live.begin();
  rebuild();
}

// A wall does not fall asleep, where the browser lets a page ask for that. The browser takes it back while the page is
// hidden.
let awake = null, asking = false;
async function stayAwake() {
  const wanted = state().kiosk && !document.hidden;
  if (!wanted) {
    const held = awake;
    awake = null;
    return held?.release().catch(() => {});
  }
  if (asking || (awake && !awake.released)) return;
  asking = true;
  awake = await navigator.wakeLock?.request("screen").catch(() => null) ?? null;
  asking = false;
  // The wall may have been left meanwhile.
  if (!state().kiosk) stayAwake();
}
document.addEventListener("visibilitychange", stayAwake);

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && state().kiosk && !document.querySelector("dialog[open]")) go({ kiosk: null });
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => view?.restyle?.());
addEventListener("languagechange", rebuild);

async function begin() {
  whenDenied({
    denied(refused) {
      banner.show();
      askToken(refused);
    },
    // In the head the token stands no more.
    forgotten: () => head?.show(),
  });
  dress();
  head = makeHead();
  onChange(showView);
  live.listen((kind) => kind === "link" && head.tick());
  setInterval(() => document.hidden || head.tick(), 1000);
  await banner.begin({
    dayTurned() {
      forget();
      view?.turn?.();
    },
    enterToken: () => askToken(),
    tryAgain() {
      setToken(token());
      restart();
    },
  });
  if (!today()) {
    // Without a token that may read, not even the day is told: a read says so, and asks for one.
    await get("/api/v1/counters/all?limit=1").catch(() => {});
  }
  live.begin();
  rebuild();
}

begin();
