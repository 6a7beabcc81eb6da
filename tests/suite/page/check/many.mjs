// More counters than one answer holds: each can be found by a part of its name, and chosen.

import { assert, eventually, given, open, run, says } from './browser.mjs';

run(async () => {
  const { page, clean } = await open();
  await page.goto(given.url);
  await says(page, '.hero h1', 'online_players');
  await says(page, '.kind', /^gauge/);
  await page.locator('input[type=search]').fill(' 1999 ');
  const card = page.locator('.card:has(a:text-is("guild:1999:members"))');
  await card.waitFor();
  assert.equal(await page.locator('.card').count(), 1);
  await says(page, '.card .value', '2,000');

  await page.goto(`${given.url}/?view=counters`);
  await eventually('the first of them', async () => (await page.locator('.list li').count()) === 200);
  await page.locator('button:text-is("More")').click();
  await eventually('more of them', async () => (await page.locator('.list li').count()) === 400);
  await page.locator('input[type=search]').fill('1998:mem');
  await says(page, '.list .name', /^guild:1998:members/);
  assert.equal(await page.locator('.list li').count(), 1);

  await page.goto(`${given.url}/?view=days&counter=guild:0000:members`);
  await says(page, 'caption', 'guild:0000:members, the last 30 days');
  const choose = page.locator('.bar input');
  await choose.fill('1997');
  await eventually('it is offered', async () => (await page.locator('datalist option').evaluateAll((all) => all.map(({ value }) => value))).join() === 'guild:1997:members');
  await choose.fill('guild:1997:members');
  await page.keyboard.press('Enter');
  await says(page, 'caption', 'guild:1997:members, the last 30 days');
  clean();
});
