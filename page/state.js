// What is shown stands in the address, so that it can be linked, reloaded and gone back to. Kept out: the token.

const listeners = new Set();

/** The state: `view` (`now`, `days`, `counters`), `counter`, `q`, `pin`, `days`, `kiosk`, `lang`, `theme`. */
export function state() {
  const query = new URLSearchParams(location.search);
  const view = query.get("view");
  return {
    view: ["days", "counters"].includes(view) ? view : "now",
    counter: query.get("counter") ?? "",
    q: query.get("q") ?? "",
    pin: (query.get("pin") ?? "").split(",").filter(Boolean),
    days: [7, 30, 90].includes(Number(query.get("days"))) ? Number(query.get("days")) : 30,
    kiosk: query.has("kiosk"),
    lang: query.get("lang"),
    theme: query.get("theme"),
  };
}

/** The address with some of the state changed; `null` removes. */
export function address(changes) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === "" || (name === "view" && value === "now")) query.delete(name);
    else query.set(name, Array.isArray(value) ? value.join(",") : value);
  }
  const text = query.toString().replace(/%2C/g, ",").replace(/%3A/g, ":").replace(/kiosk=(?=&|$)/, "kiosk");
  return text ? `?${text}` : "/";
}

/** Goes there. With `replace` the way back skips what was before. */
export function go(changes, { replace = false } = {}) {
  const target = address(changes);
  if (replace) history.replaceState(null, "", target);
  else if (target !== (location.search || "/")) history.pushState(null, "", target);
  for (const listener of listeners) listener();
}

/** Calls `listener` when the state changes. */
export function onChange(listener) {
  listeners.add(listener);
}

addEventListener("popstate", () => listeners.forEach((listener) => listener()));

// Links within the page change the state without a load.
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[data-go]");
  if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  const target = new URL(link.href);
  if (target.href !== location.href) history.pushState(null, "", target);
  for (const listener of listeners) listener();
});

/** A choice that this browser keeps, such as the language; nothing is kept where it may not. */
export const choice = {
  get(name) {
    try { return localStorage.getItem(`counterd.${name}`); } catch { return null; }
  },
  set(name, value) {
    try {
      if (value === null) localStorage.removeItem(`counterd.${name}`);
      else localStorage.setItem(`counterd.${name}`, value);
    } catch { /* it holds for this page then */ }
  },
};
