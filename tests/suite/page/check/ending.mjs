// The day has ended by the page's clock, and the server does not answer: the page asks once, not once a second.

import { assert, given, open, run, says } from './browser.mjs';

run(async () => {
  const { page, clean, asked } = await open();
  await page.clock.install();
  await page.goto(given.url);
  await says(page, '.link', 'live');
  await says(page, '.zone', /^Asia\/Taipei/);
  const looks = () => asked.filter(({ pathname }) => pathname === '/readyz').length;
  process.kill(given.pid, 'SIGSTOP');
  const before = looks();
  await page.clock.fastForward('24:00:00');
  await page.clock.runFor(60_000);
  process.kill(given.pid, 'SIGCONT');
  // What is asked for now is asked after all that waited.
  await page.locator('nav a:text-is("Counters")').click();
  await says(page, '.list .name', /^active_users_1h/);
  assert(looks() - before <= 6, `${looks() - before} looks`);
  clean();
});
