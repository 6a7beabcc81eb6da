// What an administrator may do to a counter: define, adjust, reset, silence. Each is sent once, with a key of its own.

import { change, get } from "./api.js";
import { field, h, say } from "./dom.js";
import { forgetCounter } from "./past.js";
import { fromWall, moment, now, wall } from "./time.js";
import { knows, number, t } from "./words.js";

const KINDS = ["gauge", "sum", "unique", "presence"];
const WHOLE = /^-?\d{1,19}$/;
const HOUR = 3_600_000;
const SPANS = [["minutes", 15], ["hours", 1], ["hours", 4], ["hours", 24]];

const path = (name, what = "") => `/api/v1/counter/${encodeURIComponent(name)}${what}`;

/**
 * A form that folds out. `send` returns what to say when it is done; it may throw what was refused. `empty` makes the form
 * ready for another.
 */
function deed(title, fields, button, send, { danger = false, empty } = {}) {
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
        if (empty) empty();
        else form.reset();
      } catch (error) {
        say(fault, whyNot(error));
      }
      go.disabled = false;
    },
  }, ...fields, fault, done, h("div", { class: "buttons" }, go));
  return h("details", { class: "deed" }, h("summary", {}, title), form);
}

/** What to say of a deed that was refused, or whose outcome is open. */
function whyNot(error) {
  if (error.isOpen) return t("openOutcome", { detail: error.detail });
  const own = error.code === "unauthorized" && !error.hadToken ? "refused_no_token" : `refused_${error.code}`;
  return knows(own) ? t(own) : error.detail ?? error.message;
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
    return t("doneSilence", { time: moment(until) });
  });
}

/** What a new counter is, unless the form says otherwise. */
const PLAIN = { kind: "gauge", reset: "never", on_bound: "refuse", min: 0, max: Number.MAX_SAFE_INTEGER };

/** JSON of plain values, with whole numbers to their last digit. */
const json = (fields) => `{${Object.entries(fields).filter(([, value]) => value !== null && value !== undefined).map(([name, value]) => `${JSON.stringify(name)}:${typeof value === "bigint" ? value : JSON.stringify(value)}`).join(",")}}`;

/** What a `datetime-local` shows of an instant. */
const localInput = (at) => new Date(wall(at)).toISOString().slice(0, 16);

function instant(text) {
  if (!text) return null;
  const at = fromWall(Date.parse(`${text}Z`));
  if (at === null) throw lacking("skippedTime");
  if (!Number.isFinite(at)) throw lacking("needed");
  return new Date(at).toISOString();
}

/** The fields of a definition. `fill` shows one; `over` gives one with what was changed in the form since. */
function definitionForm(before) {
  const text = (attributes) => h("input", { autocomplete: "off", ...attributes });
  const inputs = {
    kind: choices(KINDS.map((word) => [word, t(word)]), {}),
    reset: choices([["never", t("neverWord")], ["daily", t("dailyWord")]], {}),
    on_bound: choices([["refuse", t("refuse")], ["clamp", t("clamp")]], {}),
    min: text({ inputmode: "numeric" }), max: text({ inputmode: "numeric" }),
    window: text(), ttl: text(),
    expires_at: h("input", { type: "datetime-local" }),
    description: text({ maxlength: "1000" }),
  };
  const write = { expires_at: (value) => (value ? localInput(Date.parse(value)) : "") };
  const plain = (value) => String(value ?? "");
  const line = (input) => input.value.trim() || null;
  const read = { min: (input) => BigInt(whole(input)), max: (input) => BigInt(whole(input)), expires_at: ({ value }) => instant(value) };
  const shown = {};
  const fill = (definition) => {
    for (const [name, input] of Object.entries(inputs)) {
      input.value = (write[name] ?? plain)(definition[name]);
      shown[name] = input.value;
    }
  };
  fill(before ?? PLAIN);
  // These do not change while a counter lives.
  if (before) for (const name of ["kind", "reset", "window", "ttl"]) inputs[name].disabled = true;
  const changed = () => Object.keys(inputs).filter((name) => inputs[name].value !== shown[name]);
  const fields = [
    h("div", { class: "grid" }, field(t("kind"), inputs.kind), field(t("reset"), inputs.reset), field(t("onBound"), inputs.on_bound)),
    h("div", { class: "grid" }, field(t("min"), inputs.min), field(t("max"), inputs.max)),
    h("div", { class: "grid" }, field(t("windowWord"), inputs.window, t("windowHint")), field(t("ttl"), inputs.ttl, t("ttlHint"))),
    field(t("expires"), inputs.expires_at, t("expiresHint")), field(t("description"), inputs.description),
  ];
  const over = (definition) => ({ ...definition, ...Object.fromEntries(changed().map((name) => [name, (read[name] ?? line)(inputs[name])])) });
  return { fields, fill, over, isTouched: () => changed().length > 0 };
}

/** The definition as it is now; somebody else may have changed it. */
async function definitionNow(name) {
  const { counters } = await get(`/api/v1/counters/all?limit=1&prefix=${encodeURIComponent(name)}`);
  const found = counters.find((counter) => counter.name === name)?.definition;
  if (!found) throw lacking("counterGone");
  return found;
}

function redefine({ name, definition }, changed) {
  const form = definitionForm(definition);
  const send = async () => {
    const { definition: saved } = await change("PUT", path(name), json(form.over(await definitionNow(name))));
    form.fill(saved);
    changed();
    return t("doneDefine", { name });
  };
  const element = deed(t("redefine"), form.fields, t("save"), send, { empty() {} });
  element.addEventListener("toggle", async () => {
    if (!element.open) return;
    const now = await definitionNow(name).catch(() => null);
    if (now && !form.isTouched()) form.fill(now);
  });
  return element;
}

/** A form that defines a new counter; `onDefined` is told its name. */
export function makeDefine(onDefined) {
  const name = h("input", { maxlength: "100", autocomplete: "off", spellcheck: "false", autocapitalize: "none" });
  const form = definitionForm(null);
  const send = async () => {
    const wanted = name.value.trim();
    if (!wanted) throw lacking("needed");
    await change("PUT", path(wanted), json(form.over(PLAIN)));
    setTimeout(() => onDefined(wanted), 0);
    return t("doneDefine", { name: wanted });
  };
  const empty = () => {
    name.value = "";
    form.fill(PLAIN);
  };
  return h("section", { class: "panel" }, deed(t("define"), [field(t("name"), name, t("nameHint")), ...form.fields], t("defineDo"), send, { empty }));
}
