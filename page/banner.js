// What is wrong, and why: the connection, values from a copy, counting that is refused, alerts that fire.

import { denied, get } from "./api.js";
import { h, put } from "./dom.js";
import { link, listen } from "./live.js";
import { moment, now, setCalendar, today } from "./time.js";
import { knows, t } from "./words.js";

const EVERY = 15_000;
/** Milliseconds between two looks after the day has ended, until the server says that it has. */
const EVERY_AT_END = 3000;
/** Milliseconds for which a lost connection may come back unnoticed. */
const BLINK = 2500;

let standing = null, stale = null, alerts = [], shown = "", looking = null, looked = 0;
let told = { dayTurned() {}, enterToken() {}, tryAgain() {} };

const place = () => document.getElementById("banner");

function items() {
  const found = [];
  if (denied()) found.push(["alarm", t(denied().status === 403 ? "bannerForbidden" : "bannerDenied"), denied().status === 403 && denied().detail, null, "denied"]);
  else if (link.state === "lost" && now() - link.since > BLINK) found.push(["alarm", t("bannerLost", { time: moment(link.since) }), link.cause && t(`bannerLost_${link.cause}`, { host: location.hostname })]);
  const cause = standing?.cause, since = standing?.since && Date.parse(standing.since);
  if (standing?.source) found.push(["alarm", t("bannerStale", { source: standing.source, time: standing.as_of ? moment(Date.parse(standing.as_of)) : "?" })]);
  else if (stale) found.push(["alarm", t("bannerStalePlain")]);
  if (standing?.mode === "read_only") {
    const why = knows(`cause_${cause}`) ? t(`cause_${cause}`) : cause;
    found.push(["alarm", t("bannerReadOnly", { time: since ? moment(since) : "?", cause: why }), standing.remedy && t("bannerRemedy", { remedy: standing.remedy })]);
  } else if (cause === "slow_disk") found.push(["warn", t("bannerSlow", { time: since ? moment(since) : "?" })]);
  if (standing?.draining) found.push(["warn", t("bannerDraining")]);
  // The mode was told above, with its cause.
  for (const alert of alerts) if (alert.rule !== standing?.mode && alert.rule !== cause) found.push(alertItem(alert));
  return found;
}

/** Shows what is known now. */
export function show() {
  const found = items();
  const key = JSON.stringify(found);
  if (key === shown) return;
  shown = key;
  put(place(), ...found.map(([level, text, more, runbook, what]) => h("div", { class: `notice ${level}` },
    h("span", { class: "sign", "aria-hidden": "true" }, level === "alarm" ? "▲" : "●"), h("p", {}, text, more && h("span", { class: "more" }, " ", more), runbook && h("span", { class: "more" }, " ", runbook)),
    what === "denied" && h("div", { class: "buttons" },
      h("button", { type: "button", onclick: () => told.enterToken() }, t("enterToken")),
      h("button", { type: "button", class: "quiet", onclick: () => told.tryAgain() }, t("tryAgain"))))));
}

/** Asks how the server stands; where that is being asked already, nothing more is, unless it has to be asked `anew`. */
export async function look({ anew = false } = {}) {
  if (anew) await looking;
  looked = Date.now();
  looking ??= Promise.all([lookAtStanding(), lookAtAlerts()]).finally(() => {
    looking = null;
  });
  return looking;
}

async function lookAtStanding() {
  try {
    const answer = await get("/readyz?verbose");
    standing = answer;
    if (!answer.stale) stale = null;
  } catch (error) {
    // A server that is not ready says why in the same words.
    if (!error.body.mode) return show();
    standing = error.body;
  }
  if (standing?.calendar) {
    const before = today();
    setCalendar(standing.day, standing.calendar);
    if (before && (before.day !== standing.day || before.zone !== standing.calendar.timezone)) told.dayTurned();
  }
  show();
}

const fires = ({ state }) => state === "firing" || state === "recovering";

async function lookAtAlerts() {
  try {
    alerts = (await get("/api/v1/alerts")).alerts.filter(fires);
  } catch (error) {
    // What fired when the connection was lost is not known to have ended.
    if (error.status !== 0) alerts = [];
  }
  show();
}

function alertItem({ counter, summary, why, severity, runbook, fired_at: at, since }) {
  const isNamed = !counter || summary.includes(counter);
  const text = isNamed ? summary : t("bannerAlert", { counter, summary });
  return [severity === "critical" ? "alarm" : "warn", text, `· ${why} (${t("since", { time: moment(Date.parse(at ?? since)) })})`, `· ${t("runbook")}: ${runbook}`];
}

/** Looks from now on; calls `dayTurned` when the local day is another, and what the buttons are for. */
export async function begin(calls) {
  told = calls;
  listen((kind, data) => {
    if (kind === "mode") {
      if (data.stale !== undefined) stale = data.stale;
      if (data.mode !== standing?.mode || data.cause !== (standing?.cause ?? undefined)) look();
    }
    if (kind === "alerts") {
      alerts = data.alerts.filter(fires);
      show();
    }
    if (kind === "link" || kind === "again") show();
    if (kind === "again") look();
  });
  setInterval(() => {
    show();
    if (today() && now() >= today().endsAt && Date.now() - looked >= EVERY_AT_END) look();
  }, 1000);
  setInterval(look, EVERY);
  await look();
}

/** The words of the page are in another language. */
export function restate() {
  shown = "";
  show();
}
