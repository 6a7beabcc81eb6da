// Asks the server. The token is kept for this tab alone and goes nowhere but into `Authorization`.

import { parse } from "./dom.js";
import { noteServerTime } from "./time.js";

const KEY = "counterd.token";
/** Requests under way at once. */
const AT_ONCE = 4;

let tokenOfPage = "";
try { tokenOfPage = sessionStorage.getItem(KEY) ?? ""; } catch { /* then it is asked for again after a reload */ }

export const token = () => tokenOfPage;

export function setToken(text) {
  tokenOfPage = text;
  try {
    if (text) sessionStorage.setItem(KEY, text);
    else sessionStorage.removeItem(KEY);
  } catch { /* kept for this page then */ }
}

/** An answer that is an error: `status` (0 without an answer), `code`, `detail`. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail ?? problem.title ?? `${status}`);
    this.status = status;
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
  const bearer = tokenOfPage ? { authorization: `Bearer ${tokenOfPage}` } : {};
  const type = body === undefined ? {} : { "content-type": "application/json" };
  await turn();
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
    return { refused: new Refused(answer.status, json), after: Number(answer.headers.get("retry-after")) || 1 };
  } catch (error) {
    return { refused: new Refused(0, { detail: String(error.message ?? error), code: "no_answer" }), after: 1 };
  } finally {
    done();
  }
}

let onDenied = () => {};

/** Calls `listener` when a read needs a token that this tab does not have. */
export function whenDenied(listener) {
  onDenied = listener;
}

/** Reads. What is refused for a moment is asked for again, a few times. */
export async function get(path) {
  for (let tries = 0; ; tries += 1) {
    const { json, refused, after } = await once("GET", path);
    if (!refused) return json;
    if (refused.status === 401 || refused.status === 403) onDenied(refused);
    if (tries >= 3 || refused.status !== 429) throw refused;
    await pause(Math.min(after, 10) * 1000 + Math.random() * 500);
  }
}

/** A key that is nobody else's: the call counts once, however often it is sent. */
function freshKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `page-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

/** Changes something, once: after a lost answer it asks again with the same key. `body` is JSON text. */
export async function change(method, path, body, { once: isOnce = true } = {}) {
  const key = isOnce ? { "idempotency-key": freshKey() } : {};
  for (let tries = 0; ; tries += 1) {
    const { json, refused, after } = await once(method, path, body, key);
    if (!refused) return json;
    const isOpen = refused.status === 0 || refused.code === "outcome_unknown" || refused.code === "overloaded";
    if (!isOpen || tries >= 4) throw refused;
    await pause(after * 1000 + Math.random() * 500);
  }
}
