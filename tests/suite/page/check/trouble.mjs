// What is wrong is told with its cause: counting that was stopped, a server that is away.

import { execFileSync } from 'node:child_process';

import { accessible, api, assert, eventually, given, open, reportViolations, run, says, shot } from './browser.mjs';

const counterd = (...words) => execFileSync(given.counterd, words, { env: { ...process.env, COUNTERD_STORAGE__DATA_DIR: given.data } });

run(async () => {
  const { context, page, clean } = await open();
  await reportViolations(context);
  await page.goto(given.url);
  await says(page, '.link', 'live');
  assert.equal(await page.locator('.notice').count(), 0);
  counterd('mode', 'read_only');
  await says(page, '.notice', /^▲Nothing is counted since \d\d:\d\d: an operator has stopped it\. What brings it back: /);
  // It is told once, though an alert of the same cause says so too.
  await eventually('the alert', async () => (await api('GET', '/api/v1/alerts')).alerts.some(({ state, rule }) => state === 'firing' && rule === 'read_only'));
  assert.equal(await page.locator('.notice').count(), 1);
  await accessible(page, 'trouble');
  await shot(page, 'trouble-light', { fullPage: true });
  await page.emulateMedia({ colorScheme: 'dark' });
  await accessible(page, 'trouble, dark');
  await shot(page, 'trouble-dark', { fullPage: true });
  counterd('mode', 'normal');
  await eventually('counting goes on', async () => !(await page.locator('#banner').textContent()).includes('Nothing is counted'));

  // A curve that could not be read comes back by itself.
  await context.route('**/series?*', (route) => route.abort());
  await page.reload();
  await says(page, '.chart > .note', /^The curve cannot be read now/);
  await context.unroute('**/series?*');
  await page.waitForSelector('.chart > .note', { state: 'hidden' });
  await page.waitForSelector('.hero canvas');

  // The server is gone: the numbers stay, and are said to be old.
  const value = await page.locator('.hero .value').textContent();
  process.kill(given.pid, 'SIGKILL');
  await eventually('it is told', async () => /Not connected since \d\d:\d\d/.test(await page.locator('#banner').textContent()));
  await says(page, '.link', 'not live');
  await says(page, '.hero .value', value);
  await accessible(page, 'lost');
  clean();
});
