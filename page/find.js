// Finds counters by a part of their name.

import { get } from "./api.js";

/** Counters of one answer; the server gives no more. */
const PAGE = 1000;
/** Answers that are looked through for a part of a name. */
const MOST_PAGES = 10;

/** What is looked for, as names are written. */
export const asName = (text) => text.trim().toLowerCase();

const read = (more) => get(`/api/v1/counters/all?limit=${PAGE}${more}`);

/**
 * The counters whose names have `text` in them, in the order of names, and whether they are all of them (`complete`).
 * Looking ends once there are `most`, or when `isWanted` says so. Of more counters than are looked through those that
 * begin with the text are found.
 */
export async function find(text, most, isWanted = () => true) {
  const found = new Map();
  const take = ({ counters }) => counters.forEach((counter) => counter.name.includes(text) && found.set(counter.name, counter));
  let page = await read("");
  take(page);
  let complete = page.next_cursor === null;
  if (text && !complete) {
    // What cannot be the begin of a name is refused.
    const begin = await read(`&prefix=${encodeURIComponent(text)}`).catch((error) => {
      if (error.status !== 400) throw error;
      return { counters: [] };
    });
    take(begin);
  }
  for (let pages = 1; page.next_cursor !== null && pages < MOST_PAGES && found.size < most && isWanted(); pages += 1) {
    page = await read(`&cursor=${encodeURIComponent(page.next_cursor)}`);
    take(page);
    complete = page.next_cursor === null;
  }
  const counters = [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  return { counters, complete };
}
