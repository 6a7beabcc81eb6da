// Local times are the server's, whatever zone the viewer's machine has, also on days of 23 and 25 hours.

import { api, assert, enterToken, eventually, given, number, open, run, says, shot } from './browser.mjs';

run(async () => {
  for (const timezoneId of ['America/New_York', 'Europe/Berlin']) {
    const { browser, page, clean } = await open({ timezoneId });
    await page.goto(given.url);
    await says(page, '.zone', `${given.zone}, days from ${given.start}`);
    await eventually('the time', async () => given.clocks.includes((await page.locator('.clock').textContent()).trim()));
    const fact = (line) => page.locator(`.hero .facts > div:nth-child(${line}) dd`).textContent();
    for (const [line, back] of [[1, 1], [2, 7]]) {
      await eventually(`the same minute, ${back} days ago`, async () => given.then[back].map(number).includes((await fact(line)).split(' ')[0]));
    }
    await page.locator('.astable summary').click();
    await page.locator('.astable tbody tr').first().waitFor();
    const rows = await page.locator('.astable tbody tr').evaluateAll((rows) => rows.map((row) => [...row.children].map((cell) => cell.textContent)));
    // One row for each hour that the local day has.
    assert.equal(rows.length, given.rows.length, `${given.zone}: ${JSON.stringify(rows)}`);
    for (const [place, [time, today, yesterday, lastWeek]] of rows.entries()) {
      const wanted = given.rows[place];
      assert.equal(time, wanted.time);
      const shown = (value) => (value === null ? '–' : number(value));
      assert.deepEqual([today, yesterday, lastWeek], [wanted.today, wanted.yesterday, wanted.lastWeek].map(shown), `${given.zone} ${time}`);
    }
    // Peaks are told by the same clock.
    const { days: [day] } = await api('GET', '/api/v1/counter/online_players/history');
    await eventually('the peak', async () => (await fact(3)).startsWith(`${number(day.peak)} at ${given.peakClock}`));
    // A local time of another part of the year is an instant of that part of the year.
    await page.goto(`${given.url}/?view=counters&counter=online_players`);
    await enterToken(page, given.admin);
    const form = page.locator('.deed:has(summary:text-is("Define a counter"))');
    for (const { shown, at } of given.expiries) {
      await form.waitFor();
      if (!(await form.evaluate((details) => details.open))) await form.locator('summary').click();
      await form.locator('input').first().fill('to_end');
      await form.locator('input[type=datetime-local]').fill(shown);
      await form.locator('button').click();
      await eventually(`${shown} in ${given.zone} is ${at}`, async () => (await api('GET', '/api/v1/counters/all?prefix=to_end')).counters[0]?.definition.expires_at === at || null);
      await page.goto(`${given.url}/?view=counters&counter=to_end`);
      const again = page.locator('.deed:has(summary:text-is("Change the definition")) input[type=datetime-local]');
      await again.waitFor({ state: 'attached' });
      assert.equal(await again.inputValue(), shown);
    }
    await shot(page, `zone-${given.zone.replace('/', '-')}`, { fullPage: true });
    clean();
    await browser.close();
  }
});
