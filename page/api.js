// Asks the server. The token is kept for this tab alone and goes nowhere but into `Authorization`.

import { parse } from "./dom.js";
import { noteServerTime } from "./time.js";

const KEY = "counterd.token";
/** Requests under way at once. */
const AT_ONCE = 4;

let tokenOfPage = "";
try { tokenOfPage = sessionStorage.getItem(KEY) ?? ""; } catch { /* then it is asked for again after a reload */ }

export const token = () => tokenOfPage;

/** Which entry of a token this is: an answer to a request of an earlier one says nothing of it. */
let entry = 0;
/** The refusal for which nothing that needs a token is read; `null` while reading is allowed. */
let denial = null;

export const denied = () => denial;

/** Takes what the user entered: reading is tried again with it. */
export function setToken(text) {
  entry += 1;
  denial = null;
  keepToken(text);
}

function keepToken(text) {
  tokenOfPage = text;
  try {
    if (text) sessionStorage.setItem(KEY, text);
    else sessionStorage.removeItem(KEY);
  } catch { /* kept for this page then */ }
}

/** An answer that is an error: `status` (0 without an answer), `code`, `detail`. */
export class Refused extends Error {
  constructor(status, problem, hadToken = false) {
    super(problem.detail ?? problem.title ?? `${status}`);
    this.status = status;
    this.hadToken = hadToken;
    /** Whether what was asked for may have been done all the same. */
    this.isOpen = false;
    this.code = problem.code ?? "";
    this.detail = this.message;
    /** All that the answer said. */
    this.body = problem;
  }
}

let running = 0;
const waiting = [];

async function turn() {
  if (running >= AT_ONCE) await new Promise((go) => waiting.push(go));
  running += 1;
}

function done() {
  running -= 1;
  waiting.shift()?.();
}

const pause = (ms) => new Promise((over) => setTimeout(over, ms));

async function once(method, path, body, headers) {
  await turn();
  const sent = tokenOfPage, entered = entry;
  const bearer = sent ? { authorization: `Bearer ${sent}` } : {};
  const type = body === undefined ? {} : { "content-type": "application/json" };
  try {
    const answer = await fetch(path, {
      method, body, headers: { ...bearer, ...type, ...headers }, cache: "no-store", credentials: "omit",
      signal: AbortSignal.timeout(20_000),
    });
    const text = await answer.text();
    noteServerTime(answer.headers.get("date"));
    let json;
    try { json = parse(text); } catch { json = {}; }
    if (answer.ok) return { json };
    const refused = new Refused(answer.status, json, Boolean(sent));
    if (entered === entry) heed(refused);
    return { refused, after: Number(answer.headers.get("retry-after")) || 1 };
  } catch (error) {
    return { refused: new Refused(0, { detail: String(error.message ?? error), code: "no_answer" }), after: 1 };
  } finally {
    done();
  }
}

let onDenied = () => {};
let onForgotten = () => {};

/** Calls `denied` when reads end for want of a token, and `forgotten` when a token turned out to be wrong. */
export function whenDenied({ denied, forgotten }) {
  onDenied = denied;
  onForgotten = forgotten;
}

// A wrong token is not sent again: each time would count as a guess of this address.
function heed({ status, code, hadToken }) {
  if (status !== 401 || code !== "unauthorized" || !hadToken || !tokenOfPage) return;
  keepToken("");
  onForgotten();
}

function deny(refused) {
  denial = refused;
  onDenied(refused);
}

/** Reads. What is refused for a moment is asked for again, a few times; without a token that may read nothing is asked. */
export async function get(path) {
  const needsToken = path.startsWith("/api/");
  for (let tries = 0; ; tries += 1) {
    if (needsToken && denial) throw denial;
    const entered = entry;
    const { json, refused, after } = await once("GET", path);
    if (!refused) return json;
    if (needsToken && !denial && entered === entry && (refused.status === 401 || refused.status === 403)) deny(refused);
    if (tries >= 3 || refused.status !== 429) throw refused;
    await pause(Math.min(after, 10) * 1000 + Math.random() * 500);
  }
}

/** A key that is nobody else's: the call counts once, however often it is sent. */
function freshKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `page-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

/** Changes whose outcome is not known: what was sent, and with which key. */
const unsettled = new Map();

// No answer, or none of counterd: the change may have been made.
const mayBeDone = ({ status, code }) => status === 0 || code === "outcome_unknown" || (status >= 500 && !code);
// Refused before it was looked whether the key is known: that says nothing of an earlier attempt.
const isUnread = ({ status }) => [401, 403, 408, 429].includes(status) || status >= 500;

/**
 * Changes something, once: after a lost answer it asks again with the same key, and so does the next call with the same
 * body while the outcome is not known (`isOpen` of what is thrown). `body` is JSON text.
 */
export async function change(method, path, body, { once: isOnce = true } = {}) {
  const what = `${method} ${path}`;
  const known = unsettled.get(what);
  const attempt = known?.body === body && known ? known : { body, key: freshKey(), isOpen: false };
  const key = isOnce ? { "idempotency-key": attempt.key } : {};
  for (let tries = 0; ; tries += 1) {
    const { json, refused, after } = await once(method, path, body, key);
    if (!refused || !isUnread(refused) || mayBeDone(refused)) attempt.isOpen = Boolean(refused) && mayBeDone(refused);
    if (isOnce && attempt.isOpen) unsettled.set(what, attempt);
    else if (unsettled.get(what) === attempt) unsettled.delete(what);
    if (!refused) return json;
    refused.isOpen = isOnce && attempt.isOpen;
    const isPassing = mayBeDone(refused) || refused.code === "overloaded";
    if (!isPassing || tries >= 4) throw refused;
    await pause(after * 1000 + Math.random() * 500);
  }
}
