// Local times are the server's, whatever zone the viewer's machine has, also on days of 23 and 25 hours.

import { api, assert, eventually, given, number, open, run, says, shot } from './browser.mjs';

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
    await shot(page, `zone-${given.zone.replace('/', '-')}`, { fullPage: true });
    clean();
    await browser.close();
  }
});
