// A server that lets nobody read without a token: the page asks for one, and keeps it for the tab.

import { accessible, assert, eventually, given, open, reportViolations, run, says, shot } from './browser.mjs';

run(async () => {
  const { context, page, clean, asked } = await open();
  let guesses = 0;
  page.on('request', (request) => {
    if (request.headers().authorization === 'Bearer not it') guesses += 1;
  });
  const looks = () => asked.filter(({ pathname }) => pathname === '/readyz').length;
  await reportViolations(context);
  await page.goto(given.url);
  await says(page, 'dialog h2', 'The server asks for a token');
  await accessible(page, 'token');
  await shot(page, 'token');
  await page.locator('dialog input').fill('not it');
  await page.keyboard.press('Enter');
  await says(page, 'dialog .fault', 'The server does not know this token.');
  // Each attempt counts as a guess: no more than those that were under way are made.
  assert(guesses > 0 && guesses <= 4, `${guesses}`);
  const before = guesses;
  await page.locator('dialog button:text-is("Cancel")').click();
  await says(page, '.notice', /The server asks for a token\. Nothing is read until one is entered\./);
  await accessible(page, 'denied');
  await shot(page, 'denied');
  // The page looks at the server again and again, and neither sends the token nor asks for one.
  const seen = looks();
  await eventually('two more looks', async () => looks() >= seen + 2, 60_000);
  assert.equal(guesses, before);
  assert.equal(await page.locator('dialog').count(), 0);
  // Who wants to tries again, or enters another.
  await page.locator('.notice button:text-is("Try again")').click();
  await says(page, 'dialog h2', 'The server asks for a token');
  await page.locator('dialog button:text-is("Cancel")').click();
  await page.locator('.notice button:text-is("Enter a token")').click();
  await page.locator('dialog input').fill('the-reader');
  await page.keyboard.press('Enter');
  await says(page, '.hero h1', 'online_players');
  await says(page, '.link', 'live');
  await eventually('nothing is wrong any more', async () => (await page.locator('.notice').count()) === 0);
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
