// A counter whose record cannot be read says so, in every place; the others are as they were.

import { accessible, given, open, run, says, shot } from './browser.mjs';

run(async () => {
  const { page, clean } = await open();
  await page.goto(`${given.url}/?counter=rotten`);
  await says(page, '.hero h1', 'rotten');
  const why = /^cannot be read: its record is damaged/;
  await says(page, '.hero .state', why);
  await says(page, '.chart > .note', why);
  await says(page, '.card:has(a:text-is("rotten")) .state', why);
  await says(page, '.card:has(a:text-is("sound")) .value', '7');
  await accessible(page, 'corrupt');
  await shot(page, 'corrupt', { fullPage: true });
  await page.goto(`${given.url}/?view=counters&counter=rotten`);
  await says(page, '.list a[aria-current] .kind', why);
  await says(page, '.panel .state', why);
  clean();
});
