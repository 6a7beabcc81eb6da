// A tab that stays open while its counters change each second: heap, elements and work stay flat.

import { readFileSync, readdirSync } from 'node:fs';
import { execFileSync } from 'node:child_process';

import { api, assert, given, open, run, says } from './browser.mjs';

const TICKS = 100;

/** Seconds of processor time of a process and of all that it started. */
function worked(root) {
  const parents = new Map();
  const used = new Map();
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /, '').split(' ');
      parents.set(Number(pid), Number(fields[1]));
      used.set(Number(pid), (Number(fields[11]) + Number(fields[12])) / TICKS);
    } catch { /* it ended meanwhile */ }
  }
  let sum = 0;
  for (const [pid, seconds] of used) {
    for (let at = pid; at; at = parents.get(at)) {
      if (at === root) {
        sum += seconds;
        break;
      }
    }
  }
  return sum;
}

run(async () => {
  const { browser, page, clean } = await open();
  await page.goto(given.url);
  await says(page, '.link', 'live');
  await page.waitForSelector('.hero canvas');
  const [root] = execFileSync('pgrep', ['-P', String(process.pid), 'chromium'], { encoding: 'utf8' }).trim().split('\n').map(Number);
  const session = await page.context().newCDPSession(page);
  await session.send('Performance.enable');
  const look = async () => {
    await session.send('HeapProfiler.collectGarbage');
    const { metrics } = await session.send('Performance.getMetrics');
    const of = (name) => metrics.find((metric) => metric.name === name).value;
    return { heap: of('JSHeapUsedSize'), nodes: of('Nodes'), listeners: of('JSEventListeners'), work: worked(root) };
  };
  const until = Date.now() + given.seconds * 1000;
  const every = Math.max(given.seconds / 20, 2) * 1000;
  const warm = Math.min(given.seconds / 4, 60) * 1000;
  // A change each second, as a game would make it.
  let counted = 0;
  const counting = setInterval(() => {
    counted += 1;
    api('POST', `/api/v1/counter/online_players/${counted % 3 ? 'increment' : 'decrement'}`, { value: 1 + (counted % 7) }).catch(() => {});
  }, 1000);
  await new Promise((over) => setTimeout(over, warm));
  const first = await look(), begun = Date.now();
  let last = first;
  while (Date.now() < until) {
    await new Promise((over) => setTimeout(over, every));
    last = await look();
    if (given.seconds >= 120) console.log(`${Math.round((Date.now() - begun) / 1000)} s: heap ${(last.heap / 1e6).toFixed(2)} MB, ${last.nodes} nodes, ${last.listeners} listeners`);
  }
  clearInterval(counting);
  const seconds = (Date.now() - begun) / 1000, share = (last.work - first.work) / seconds;
  console.log(`${Math.round(seconds)} s with ${counted} changes: heap ${(first.heap / 1e6).toFixed(2)} → ${(last.heap / 1e6).toFixed(2)} MB, nodes ${first.nodes} → ${last.nodes}, listeners ${first.listeners} → ${last.listeners}, ${(share * 100).toFixed(2)} % of a core`);
  await says(page, '.hero .value', new Intl.NumberFormat('en-GB').format((await api('GET', '/api/v1/counter/online_players')).value));
  assert(last.heap < first.heap * 1.1 + 500_000, 'the heap grows');
  assert(last.nodes < first.nodes + 200, 'elements grow');
  assert(last.listeners <= first.listeners + 20, 'listeners grow');
  if (given.claimWork) assert(share < 0.02, 'more than 2 % of a core');
  clean();
  await browser.close();
});
