// Days: the table against what the API says, its CSV, its choices in the address.

import { readFile } from 'node:fs/promises';

import { accessible, api, assert, eventually, focused, given, number, open, reportViolations, run, says, shot } from './browser.mjs';

const cells = (page) => page.locator('table.days tbody tr').evaluateAll((rows) => rows.map((row) => [...row.children].map((cell) => cell.textContent.trim())));

run(async () => {
  const { context, page, clean } = await open();
  await reportViolations(context);
  await page.goto(`${given.url}/?view=days&counter=total_games_played&days=7`);
  await says(page, 'caption', 'total_games_played, the last 7 days');
  const { days } = await api('GET', '/api/v1/counter/total_games_played/history');
  const rows = await cells(page);
  assert.equal(rows.length, 7);
  const [today, yesterday] = days;
  assert.match(rows[0][0], /under way$/);
  assert.equal(rows[0][1], number(today.final_value));
  assert.equal(rows[1][1], number(yesterday.final_value));
  const signed = new Intl.NumberFormat('en-GB', { signDisplay: 'exceptZero' });
  assert.equal(rows[0][3], '', 'a day that is under way against a whole one');
  // The day before yesterday nobody played: a daily counter was 0.
  assert.equal(rows[1][3], signed.format(yesterday.final_value));
  assert.deepEqual([rows[2][1], rows[2][4]], ['0', 'no change']);
  const clock = new Intl.DateTimeFormat('en-GB', { timeZone: 'Asia/Taipei', hour: '2-digit', minute: '2-digit' });
  assert.equal(rows[1][4], `${number(yesterday.peak)}${clock.format(new Date(yesterday.peak_at))}`);
  assert.equal(rows[1][8], number(yesterday.operations));
  await accessible(page, 'days');
  await shot(page, 'days-light', { fullPage: true });

  // The file has the same, with the local times.
  const [saved] = await Promise.all([page.waitForEvent('download'), page.locator('button:text-is("CSV")').click()]);
  assert.equal(saved.suggestedFilename(), `total_games_played ${saved.suggestedFilename().slice(19, 29)} ${today.date}.csv`);
  const text = await readFile(await saved.path(), 'utf8');
  assert(text.startsWith('\uFEFFdate,closed,opening,final_value,'), text);
  const lines = text.trim().split('\r\n').slice(1).map((line) => line.split(','));
  assert.deepEqual(lines[0].slice(0, 6), [today.date, 'false', '0', String(today.final_value), '', String(today.peak)]);
  // Each day of the table is in it, also those without a change.
  assert.equal(lines.length, rows.length);
  assert.deepEqual(lines[1].slice(3, 5), [String(yesterday.final_value), String(yesterday.final_value)]);
  assert.deepEqual([lines[2][3], lines[2].at(-1)], ['0', 'no change']);
  assert.match(lines[0][6], /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/);
  assert(lines[0][6].endsWith(`${clock.format(new Date(today.peak_at))}:${today.peak_at.slice(17, 19)}`), lines[0][6]);

  // What is chosen stands in the address.
  await page.locator('.chips a:text-is("30 days")').focus();
  await page.keyboard.press('Enter');
  await eventually('thirty days', async () => (await cells(page)).length === 30);
  assert.equal(await focused(page), '30 days');
  assert.equal(new URL(page.url()).searchParams.get('days'), '30');
  await page.locator('select').first().selectOption('online_players');
  await says(page, 'caption', 'online_players, the last 30 days');
  // A gauge keeps what it had on a day without a change.
  const held = await cells(page);
  assert.equal(held[2][1], number((await api('GET', '/api/v1/counter/online_players/history')).days[2].final_value));
  await page.goBack();
  await says(page, 'caption', 'total_games_played, the last 30 days');
  await page.emulateMedia({ colorScheme: 'dark' });
  await accessible(page, 'days, dark');
  await shot(page, 'days-dark', { fullPage: true });
  await page.setViewportSize({ width: 375, height: 780 });
  await accessible(page, 'days, phone');
  assert(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'it fits a phone');
  await shot(page, 'days-phone', { fullPage: true });
  await page.emulateMedia({ colorScheme: 'light' });
  await page.locator('.tools [lang]').click();
  await says(page, 'h1', '每日');
  await accessible(page, 'days, Chinese');
  clean();
});
