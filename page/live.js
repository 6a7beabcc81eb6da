// Values as they change, by one WebSocket. What a counter says is kept here, and whoever shows it is told.

import { change, denied, get, token } from "./api.js";
import { parse } from "./dom.js";
import { noteTick, now } from "./time.js";

/** Milliseconds without an event after which the connection is dead, whatever the browser says. */
const PATIENCE = 40_000;
/** Bytes of names in one message; the server takes 4 KiB. */
const MESSAGE = 3000;
/** Milliseconds between two messages; the server takes 10 a second. */
const SPACING = 150;

const values = new Map();
const listeners = new Set();
let wanted = [];
let socket = null;
let heard = 0;
let tries = 0;
let outbox = [];
let sending = null;
let timer = null;

/**
 * How the connection stands: `connecting`, `live` or `lost`, since when, and where the server answers but lets no
 * WebSocket in, why: `host` (it refuses pages of this host) or `upgrade`.
 */
export const link = { state: "connecting", since: 0, cause: null };

/** The last word on a counter; `undefined` before the first. */
export const value = (name) => values.get(name);

/**
 * Calls `listener(kind, data)`: `value` with a counter's name, `mode`, `link`, `again` after a new connection, `alerts`.
 * Returns what ends that.
 */
export function listen(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function tell(kind, data) {
  for (const listener of listeners) listener(kind, data);
}

/** Takes what was read by other means, unless something newer is known. */
export function take(counter) {
  const known = values.get(counter.name);
  const isOlder = known && known.epoch === counter.epoch && Number(counter.revision) < Number(known.revision);
  if (isOlder) return;
  values.set(counter.name, counter);
  tell("value", counter.name);
}

/** Watches these counters, at most 100, in place of those before. */
export function watch(names) {
  const before = new Set(wanted);
  const after = new Set(names);
  wanted = names;
  for (const name of values.keys()) if (!after.has(name)) values.delete(name);
  if (socket?.readyState !== WebSocket.OPEN) return;
  send("unsubscribe", [...before].filter((name) => !after.has(name)));
  send("subscribe", names.filter((name) => !before.has(name)));
}

function send(what, names) {
  let part = [], bytes = 0;
  const flush = () => {
    if (part.length) outbox.push(JSON.stringify(what === "subscribe" ? { subscribe: part, interval: "1s" } : { unsubscribe: part }));
    part = [];
    bytes = 0;
  };
  for (const name of names) {
    if (bytes + name.length + 3 > MESSAGE) flush();
    part.push(name);
    bytes += name.length + 3;
  }
  flush();
  if (!sending) drain();
}

function drain() {
  sending = null;
  const next = outbox.shift();
  if (next === undefined || socket?.readyState !== WebSocket.OPEN) return;
  socket.send(next);
  sending = setTimeout(drain, SPACING);
}

function stand(state) {
  if (link.state === state) return;
  link.state = state;
  link.since = now();
  tell("link");
}

function hear(message) {
  const { event, data } = parse(message);
  heard = Date.now();
  tries = 0;
  stand("live");
  if (event === "state") {
    for (const counter of data.counters) put(counter);
    for (const name of data.missing ?? []) put({ name, value: null, missing: true });
    for (const name of data.unknown_here ?? []) put({ name, value: null, unknown_here: true });
    tell("mode", data);
  } else if (event === "update" && data.name) {
    put(data);
  } else if (event === "update" && data.mode) {
    tell("mode", data);
  } else if (event === "tick") {
    noteTick(data.at);
  } else if (event === "alerts") {
    tell("alerts", data);
  }
}

function put(counter) {
  values.set(counter.name, counter);
  tell("value", counter.name);
}

const base64url = (text) => {
  const bytes = new TextEncoder().encode(text);
  return btoa(String.fromCharCode(...bytes)).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
};

function connect() {
  clearTimeout(timer);
  timer = null;
  // There is one connection at most.
  const before = socket;
  socket = null;
  before?.close();
  heard = Date.now();
  outbox = [];
  const address = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/v1/ws`;
  const protocols = ["counterd.v1"];
  if (token()) protocols.push(`counterd.bearer.${base64url(token())}`);
  const mine = socket = new WebSocket(address, protocols);
  let opened = false;
  mine.onopen = () => {
    if (mine !== socket) return;
    opened = true;
    link.cause = null;
    stand("live");
    outbox.push(JSON.stringify({ alerts: true }));
    send("subscribe", wanted);
    tell("again");
  };
  mine.onmessage = (message) => mine === socket && hear(message.data);
  mine.onclose = (end) => mine === socket && again(end.reason, opened);
}

function again(reason, opened) {
  stand("lost");
  clearTimeout(timer);
  const told = /^retry (\d+)$/.exec(reason ?? "");
  const wait = told ? Number(told[1]) : 500 + Math.random() * Math.min(30_000, 1000 * 2 ** tries);
  tries += 1;
  const mine = timer = setTimeout(async () => {
    // A browser does not say why a handshake was refused; a read does. Without a token that may read there is no
    // connection: whoever enters one begins anew.
    const answered = await get("/api/v1/counters/all?limit=1").catch(() => null);
    if (!answered) link.cause = null;
    else if (!opened && mine === timer) await explain();
    if (mine === timer && !denied()) connect();
  }, wait);
}

// Why there is no WebSocket though the server answers. A browser names the page's host in a POST, as in a handshake.
async function explain() {
  const refused = await change("POST", "/api/v1/push-ticket", undefined, { once: false }).then(() => null, (error) => error);
  const cause = refused?.code === "origin_not_allowed" ? "host" : !refused && tries > 1 ? "upgrade" : null;
  if (cause === link.cause) return;
  link.cause = cause;
  tell("link");
}

/** Connects, or does so anew, for instance with another token. */
export function begin() {
  if (!denied()) return connect();
  clearTimeout(timer);
  timer = null;
  stand("lost");
}

setInterval(() => {
  if (!socket || Date.now() - heard < PATIENCE) return;
  const dead = socket;
  socket = null;
  dead.close();
  again("retry 0", true);
}, 1000);
