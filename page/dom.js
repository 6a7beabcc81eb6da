// Makes elements. Text of counters gets into the page here alone, and only as text.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Makes an element: attributes, `on…` listeners, children (elements or text). */
export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);

/** The same for a drawing. */
export const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

/** Changes an element's text, if it is another. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Replaces what is in an element. Who had the focus in it keeps it, on the same element or the one that took its place. */
export function put(element, ...children) {
  const held = element.contains(document.activeElement) && document.activeElement !== element ? document.activeElement : null;
  element.replaceChildren(...children.flat(2).filter(Boolean));
  if (!held || held === document.activeElement) return;
  const place = element.contains(held) ? held : [...element.querySelectorAll(held.tagName)].find((one) => sign(one) === sign(held));
  place?.focus({ preventScroll: true });
}

// By what an element is known again after a list was made anew.
const sign = (element) => element.dataset.name ?? element.getAttribute("aria-label") ?? element.textContent;

/** A number of the server: exact beyond 2^53, where JSON's usual reader rounds. */
export function parse(text) {
  if (!/\d{16}/.test(text)) return JSON.parse(text);
  return JSON.parse(text, (_, value, context) =>
    typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source ?? "")
      ? BigInt(context.source)
      : value);
}

/** `a - b`, exact for whole numbers of any size. */
export function minus(a, b) {
  if (typeof a === "bigint" || typeof b === "bigint") return BigInt(a) - BigInt(b);
  return a - b;
}

/** A line of the form, with its label. */
export function field(label, input, hint) {
  const id = `f${field.next = (field.next ?? 0) + 1}`;
  input.id = id;
  if (hint) input.setAttribute("aria-describedby", `${id}h`);
  return h("div", { class: "field" }, h("label", { for: id }, label), input, hint && h("p", { class: "hint", id: `${id}h` }, hint));
}
