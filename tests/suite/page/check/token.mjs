// A server that lets nobody read without a token: the page asks for one, and keeps it for the tab.

import { accessible, assert, eventually, given, open, reportViolations, run, says, shot } from './browser.mjs';

run(async () => {
  const { context, page, clean, asked } = await open();
  await reportViolations(context);
  await page.goto(given.url);
  await says(page, 'dialog h2', 'The server asks for a token');
  await accessible(page, 'token');
  await shot(page, 'token');
  await page.locator('dialog input').fill('not it');
  await page.keyboard.press('Enter');
  await says(page, 'dialog .fault', 'The server does not know this token.');
  await page.locator('dialog input').fill('the-reader');
  await page.keyboard.press('Enter');
  await says(page, '.hero h1', 'online_players');
  await says(page, '.link', 'live');
  await says(page, '.zone', /^UTC/);
  await says(page, '.tools button:last-child', 'Token ✓');
  // Only this tab has it.
  await page.reload();
  await says(page, '.hero h1', 'online_players');
  const other = await context.newPage();
  await other.goto(given.url);
  await says(other, 'dialog h2', 'The server asks for a token');
  await page.locator('.tools button:last-child').click();
  await page.locator('dialog button:text-is("Forget it")').click();
  await says(page, 'dialog h2', 'The server asks for a token');
  await eventually('nothing is shown', async () => (await page.locator('.card').count()) === 0);
  assert(!asked.some((url) => url.href.includes('the-reader')));
  clean();
});
