// Values from a copy are told as such, with their time and where they come from.

import { accessible, assert, given, open, reportViolations, run, says, shot } from './browser.mjs';

run(async () => {
  const { context, page, clean } = await open();
  await reportViolations(context);
  await page.goto(`${given.url}/?counter=gauge`);
  await says(page, '.hero .value', '7');
  await says(page, '.notice', /^▲Numbers are from a copy \(redis\) as of \d\d:\d\d: the store cannot be opened\.$/);
  await says(page, '.notice:nth-child(2)', /^▲Nothing is counted since \d\d:\d\d: the store cannot be opened\./);
  await says(page, '.hero .state', /^old value of \d\d:\d\d$/);
  assert.equal(await page.locator('.hero.old').count(), 1);
  await accessible(page, 'stale');
  await shot(page, 'stale-light', { fullPage: true });
  clean();
});
