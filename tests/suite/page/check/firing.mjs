// An alert that fires is told at once: which counter, why, since when.

import { accessible, api, assert, eventually, given, open, reportViolations, run, says, shot } from './browser.mjs';

run(async () => {
  const { context, page, clean } = await open();
  await reportViolations(context);
  await page.goto(given.url);
  await says(page, '.link', 'live');
  await says(page, '.hero h1', 'online_players');
  assert.equal(await page.locator('.notice').count(), 0);
  // A fall is seen only from a value that was looked at.
  const judgedAt = async () => (await api('GET', '/api/v1/alerts')).judged_at;
  for (const look of ['first', 'second']) {
    const before = await judgedAt();
    await eventually(`the rules are judged, ${look} look`, async () => (await judgedAt()) !== before);
  }
  // Most of those who are here leave within a moment.
  const { value } = await api('GET', '/api/v1/counter/online_players');
  await api('POST', '/api/v1/counter/online_players/decrement', { value: Math.floor(value * 0.8) });
  const fired = await eventually('it fires', async () => (await api('GET', '/api/v1/alerts')).alerts.find(({ state, rule }) => state === 'firing' && rule === 'drop_hard'));
  await eventually('it is told', async () => {
    const told = await page.locator('#banner').textContent();
    return told.includes(fired.summary) && told.includes('online_players') && told.includes(fired.why) && told.includes(`What to do: ${fired.runbook}`);
  });
  await accessible(page, 'firing');
  await shot(page, 'firing-light', { fullPage: true });
  await page.emulateMedia({ colorScheme: 'dark' });
  await accessible(page, 'firing, dark');
  await shot(page, 'firing-dark', { fullPage: true });
  clean();
});
