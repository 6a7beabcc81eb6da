// A Chromium with the page in it, and what every check holds it to: nothing is asked of another server, nothing breaks the
// policy, nothing is written to the console, axe finds nothing.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { connect, createServer } from 'node:net';
import { readFileSync } from 'node:fs';

export const given = JSON.parse(process.argv[2]);
const load = createRequire(`${given.tools}/`);
const { chromium } = load('playwright-core');
const axe = readFileSync(load.resolve('axe-core/axe.min.js'), 'utf8');

export { assert };
export const PATIENCE = 30_000;

const ARGUMENTS = ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'];

/** Opens a browser and a tab; `options` are those of a context of playwright, `flags` those of Chromium. */
export async function open({ flags = [], server = given.url, ...options } = {}) {
  const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: [...ARGUMENTS, ...flags] });
  process.on('exit', () => browser.process?.()?.kill('SIGKILL'));
  // The viewer's machine has a zone with summer time.
  const context = await browser.newContext({ timezoneId: 'America/New_York', locale: 'en-GB', viewport: { width: 1280, height: 900 }, reducedMotion: 'reduce', ...options });
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  const watched = watch(page, server);
  return { browser, context, page, ...watched };
}

/** Notes what the page must not do. */
function watch(page, url) {
  const wrong = [], asked = [];
  const origin = new URL(url).host;
  page.on('request', (request) => {
    const to = new URL(request.url());
    asked.push(to);
    if (to.protocol !== 'blob:' && to.host !== origin) wrong.push(`asked ${to}`);
  });
  page.on('websocket', (socket) => {
    if (new URL(socket.url()).host !== origin) wrong.push(`asked ${socket.url()}`);
  });
  page.on('pageerror', (error) => wrong.push(`error ${error.stack}`));
  page.on('console', (message) => {
    if (message.type() === 'error' && !/Failed to load resource|WebSocket connection/.test(message.text())) wrong.push(`console ${message.text()}`);
  });
  return {
    wrong, asked,
    /** Claims that there was none of that. */
    clean: () => assert.deepEqual(wrong, []),
  };
}

/** Reports what the policy refuses as an error of the page. */
export async function reportViolations(context) {
  await context.addInitScript(() => {
    addEventListener('securitypolicyviolation', (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
  });
}

/** Claims that axe finds nothing. It runs beside the page, since the policy lets no other script in. */
export async function accessible(page, what) {
  const session = await page.context().newCDPSession(page);
  const evaluate = async (expression) => {
    const { result, exceptionDetails } = await session.send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
    assert.equal(exceptionDetails, undefined, JSON.stringify(exceptionDetails));
    return result.value;
  };
  await evaluate(axe);
  const found = JSON.parse(await evaluate(`axe.run(document, { resultTypes: ['violations'] }).then(({ violations, incomplete }) => JSON.stringify(violations.map(({ id, help, nodes }) => ({ id, help, nodes: nodes.slice(0, 5).map(({ html, failureSummary }) => [html.slice(0, 200), failureSummary]) }))))`));
  assert.deepEqual(found, [], `${what}: ${JSON.stringify(found, null, 1)}`);
  await session.detach();
}

/** Takes a picture, where somebody wants to look at it. */
export async function shot(page, name, options = {}) {
  if (given.shots) await page.screenshot({ path: `${given.shots}/${name}.png`, ...options });
}

/** Waits until `probe` gives something; fails with what it gave last. */
export async function eventually(what, probe, limit = PATIENCE) {
  const begun = Date.now();
  for (;;) {
    const found = await probe();
    if (found) return found;
    assert(Date.now() - begun < limit, `not within ${limit} ms: ${what}`);
    await new Promise((over) => setTimeout(over, 30));
  }
}

/** Waits until an element says this. */
export async function says(page, selector, wanted) {
  const fits = (text) => (wanted instanceof RegExp ? wanted.test(text) : text === wanted);
  let last;
  try {
    return await eventually(`${selector} says ${wanted}`, async () => {
      last = (await page.locator(selector).first().textContent().catch(() => null))?.trim();
      return last !== undefined && last !== null && fits(last);
    });
  } catch (error) {
    throw new Error(`${error.message}, but ${JSON.stringify(last)}`);
  }
}

/** What the element says that has the focus. */
export const focused = (page) => page.evaluate(() => document.activeElement.textContent.trim());

/** A wire between the page and the server, which can be cut: `url`, `cut()`. Connections after that come through. */
export async function wire() {
  const { hostname, port } = new URL(given.url);
  const ends = new Set();
  const server = createServer((near) => {
    const far = connect(Number(port), hostname);
    for (const [one, other] of [[near, far], [far, near]]) {
      ends.add(one);
      one.on('error', () => {}).on('close', () => {
        ends.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  });
  await new Promise((over) => server.listen(0, '127.0.0.1', over));
  return { url: `http://127.0.0.1:${server.address().port}`, cut: () => ends.forEach((end) => end.destroy()) };
}

/** Enters a token as a person does. */
export async function enterToken(page, token) {
  await page.locator('.tools button').last().click();
  await page.locator('dialog input').fill(token);
  await page.keyboard.press('Enter');
  await page.waitForSelector('dialog', { state: 'detached' });
}

/** Asks the API. */
export async function api(method, path, body, token = given.admin) {
  const answer = await fetch(`${given.url}${path}`, {
    method, headers: { authorization: `Bearer ${token}`, ...(body ? { 'content-type': 'application/json' } : {}) }, body: body && JSON.stringify(body),
  });
  const json = await answer.json();
  assert(answer.ok, `${method} ${path}: ${JSON.stringify(json)}`);
  return json;
}

export const number = (value) => new Intl.NumberFormat('en-GB').format(value);

/** Runs a check; the process ends with it. */
export async function run(work) {
  try {
    await work();
    process.exit(0);
  } catch (error) {
    console.error(error.stack ?? error);
    process.exit(1);
  }
}
