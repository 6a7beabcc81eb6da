// What an administrator may do to a counter: define, adjust, reset, silence. Each is sent once, with a key of its own.

import { change } from "./api.js";
import { field, h, say } from "./dom.js";
import { forgetCounter } from "./past.js";
import { clock, fromWall, now, wall } from "./time.js";
import { knows, number, t } from "./words.js";

const KINDS = ["gauge", "sum", "unique", "presence"];
const WHOLE = /^-?\d{1,19}$/;
const HOUR = 3_600_000;
const SPANS = [["minutes", 15], ["hours", 1], ["hours", 4], ["hours", 24]];

const path = (name, what = "") => `/api/v1/counter/${encodeURIComponent(name)}${what}`;

/** A form that folds out. `send` returns what to say when it is done; it may throw what was refused. */
function deed(title, fields, button, send, { danger = false } = {}) {
  const fault = h("p", { class: "fault", role: "alert" }), done = h("p", { class: "done", role: "status" });
  const go = h("button", { type: "submit", class: danger ? "danger" : null }, button);
  const form = h("form", {
    novalidate: true,
    oninput: () => say(fault, ""),
    async onsubmit(event) {
      event.preventDefault();
      say(fault, "");
      say(done, "");
      go.disabled = true;
      try {
        say(done, await send());
        form.reset();
      } catch (error) {
        const own = `refused_${error.code}`;
        say(fault, knows(own) ? t(own) : error.detail ?? error.message);
      }
      go.disabled = false;
    },
  }, ...fields, fault, done, h("div", { class: "buttons" }, go));
  return h("details", { class: "deed" }, h("summary", {}, title), form);
}

/** What the form lacks. */
const lacking = (word) => Object.assign(new Error(t(word)), { detail: t(word) });

function whole(input) {
  const text = input.value.trim().replace(/^\+/, "");
  if (!WHOLE.test(text)) throw lacking("whole");
  // As digits, so that nothing is rounded.
  return text.replace(/^(-?)0+(?=\d)/, "$1");
}

const choices = (options, attributes) => h("select", attributes, ...options.map(([value, word]) => h("option", { value }, word)));

/** The deeds on one counter. */
export function makeDeeds(counter, onChanged) {
  const { name } = counter;
  const changed = () => {
    forgetCounter(name);
    onChanged();
  };
  const all = [];
  if (["gauge", "sum"].includes(counter.kind) && !counter.window) all.push(adjust(name, changed));
  if (counter.definition) all.push(redefine(counter, changed));
  all.push(silence(name), reset(name, changed));
  return h("section", { class: "panel" }, h("h2", {}, t("admin")), ...all);
}

function adjust(name, changed) {
  const way = choices([["value", t("adjustTo")], ["delta", t("adjustBy")]], {});
  const amount = h("input", { inputmode: "numeric", autocomplete: "off" });
  const reason = h("input", { maxlength: "1000", autocomplete: "off" });
  const fields = [h("div", { class: "grid" }, field(t("adjust"), way), field(t("amount"), amount)), field(t("reason"), reason, t("reasonHint"))];
  return deed(t("adjust"), fields, t("adjustDo"), async () => {
    const digits = whole(amount);
    if (!reason.value.trim()) throw lacking("needed");
    const answer = await change("POST", path(name, "/adjust"), `{"${way.value}":${digits},"reason":${JSON.stringify(reason.value.trim())}}`);
    changed();
    return t("doneAdjust", { before: number(answer.previous_value), after: number(answer.current_value) });
  });
}

function reset(name, changed) {
  const typed = h("input", { autocomplete: "off", spellcheck: "false", autocapitalize: "none" });
  const fields = [h("p", { class: "note" }, t("resetText")), field(t("resetType", { name }), typed)];
  return deed(t("resetTitle"), fields, t("resetDo"), async () => {
    if (typed.value !== name) throw lacking("mustMatch");
    const answer = await change("POST", path(name, "/reset"));
    changed();
    return t("doneReset", { before: number(answer.previous_value) });
  }, { danger: true });
}

function silence(name) {
  const span = choices(SPANS.map(([unit, n]) => [unit === "hours" ? n * HOUR : n * 60_000, t(unit, { n })]), {});
  const reason = h("input", { maxlength: "1000", autocomplete: "off" });
  const fields = [h("p", { class: "note" }, t("silenceText")), h("div", { class: "grid" }, field(t("silenceFor"), span), field(t("reason"), reason))];
  return deed(t("silenceTitle"), fields, t("silenceDo"), async () => {
    if (!reason.value.trim()) throw lacking("needed");
    const until = now() + Number(span.value);
    const body = { counters: [name], until: new Date(until).toISOString(), reason: reason.value.trim() };
    // The same silence again takes the place of the first, so it needs no key.
    await change("POST", "/api/v1/alerts/silence", JSON.stringify(body), { once: false });
    return t("doneSilence", { time: clock(until) });
  });
}

/** The fields of a definition, and what they make as JSON. */
function definitionFields(before) {
  const kind = choices(KINDS.map((word) => [word, t(word)]), {});
  const resets = choices([["never", t("neverWord")], ["daily", t("dailyWord")]], {});
  const bound = choices([["refuse", t("refuse")], ["clamp", t("clamp")]], {});
  const min = h("input", { inputmode: "numeric", value: String(before?.min ?? 0) }), max = h("input", { inputmode: "numeric", value: String(before?.max ?? Number.MAX_SAFE_INTEGER) });
  const span = h("input", { value: before?.window ?? "", autocomplete: "off" }), ttl = h("input", { value: before?.ttl ?? "", autocomplete: "off" });
  const expires = h("input", { type: "datetime-local", value: before?.expires_at ? new Date(wall(Date.parse(before.expires_at))).toISOString().slice(0, 16) : "" });
  const description = h("input", { maxlength: "1000", value: before?.description ?? "", autocomplete: "off" });
  kind.value = before?.kind ?? "gauge";
  resets.value = before?.reset ?? "never";
  bound.value = before?.on_bound ?? "refuse";
  // These do not change while a counter lives.
  if (before) for (const input of [kind, resets, span, ttl]) input.disabled = true;
  const fields = [
    h("div", { class: "grid" }, field(t("kind"), kind), field(t("reset"), resets), field(t("onBound"), bound)),
    h("div", { class: "grid" }, field(t("min"), min), field(t("max"), max)),
    h("div", { class: "grid" }, field(t("windowWord"), span, t("windowHint")), field(t("ttl"), ttl, t("ttlHint"))),
    field(t("expires"), expires, t("expiresHint")), field(t("description"), description),
  ];
  const json = () => {
    const parts = [`"kind":"${kind.value}"`, `"reset":"${resets.value}"`, `"on_bound":"${bound.value}"`, `"min":${whole(min)}`, `"max":${whole(max)}`];
    if (span.value.trim()) parts.push(`"window":${JSON.stringify(span.value.trim())}`);
    if (before?.grain) parts.push(`"grain":${JSON.stringify(before.grain)}`);
    if (ttl.value.trim()) parts.push(`"ttl":${JSON.stringify(ttl.value.trim())}`);
    if (description.value.trim()) parts.push(`"description":${JSON.stringify(description.value.trim())}`);
    if (expires.value) {
      // One that was not touched keeps its seconds.
      const shown = before?.expires_at && new Date(wall(Date.parse(before.expires_at))).toISOString().slice(0, 16);
      const at = expires.value === shown ? Date.parse(before.expires_at) : fromWall(Date.parse(`${expires.value}Z`));
      if (at === null || !Number.isFinite(at)) throw lacking("needed");
      parts.push(`"expires_at":"${new Date(at).toISOString()}"`);
    }
    return `{${parts.join(",")}}`;
  };
  return { fields, json };
}

function redefine(counter, changed) {
  const { fields, json } = definitionFields(counter.definition);
  return deed(t("redefine"), fields, t("save"), async () => {
    await change("PUT", path(counter.name), json());
    changed();
    return t("doneDefine", { name: counter.name });
  });
}

/** A form that defines a new counter; `onDefined` is told its name. */
export function makeDefine(onDefined) {
  const name = h("input", { maxlength: "100", autocomplete: "off", spellcheck: "false", autocapitalize: "none" });
  const { fields, json } = definitionFields(null);
  const form = deed(t("define"), [field(t("name"), name, t("nameHint")), ...fields], t("defineDo"), async () => {
    const wanted = name.value.trim();
    if (!wanted) throw lacking("needed");
    await change("PUT", path(wanted), json());
    setTimeout(() => onDefined(wanted), 0);
    return t("doneDefine", { name: wanted });
  });
  return h("section", { class: "panel" }, form);
}
