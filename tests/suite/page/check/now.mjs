// Now: the cards, the curve, the banner's silence; in light and dark, on a phone, on a wall; by keyboard alone.

import { accessible, api, assert, eventually, given, number, open, reportViolations, run, says, shot } from './browser.mjs';

const card = (name) => `.card:has(a:text-is("${name}"))`;

run(async () => {
  const { context, page, clean, asked } = await open();
  await context.addInitScript(() => {
    globalThis.locks = [];
    const request = WakeLock.prototype.request;
    WakeLock.prototype.request = async function (...given) {
      const lock = await request.apply(this, given);
      globalThis.locks.push(lock);
      return lock;
    };
  });
  const locks = () => page.evaluate(() => globalThis.locks.filter((lock) => !lock.released).length);
  await reportViolations(context);
  await page.goto(given.url);
  const { value } = await api('GET', '/api/v1/counter/online_players');
  await says(page, '.hero h1', 'online_players');
  await says(page, '.hero .value', number(value));
  await says(page, '.link', 'live');
  await says(page, '.zone', 'Asia/Taipei, days from 00:00');
  for (const name of ['active_users_1h', 'daily_active_users', 'online_players', 'total_games_played']) {
    await says(page, `${card(name)} .value`, number((await api('GET', `/api/v1/counter/${name}`)).value));
  }

  // The past: the same minute of yesterday and last week, the peaks.
  const fact = (place, line) => `${place} .facts > div:nth-child(${line}) dd`;
  for (const [line, back] of [[1, 1], [2, 7]]) {
    await eventually(`line ${line} of the facts`, async () => {
      const shown = (await page.locator(fact('.hero', line)).textContent()).split(' ')[0];
      // The minute may turn meanwhile.
      const there = given.then[back].map(number);
      return there.includes(shown);
    });
  }
  const { days } = await api('GET', '/api/v1/counter/online_players/history');
  const today = days[0];
  const clock = new Intl.DateTimeFormat('en-GB', { timeZone: 'Asia/Taipei', hour: '2-digit', minute: '2-digit' });
  await says(page, fact('.hero', 3), `${number(today.peak)} at ${clock.format(new Date(today.peak_at))}`);
  const peak = days.reduce((best, day) => (day.peak > best.peak ? day : best));
  const date = new Intl.DateTimeFormat('en-GB', { timeZone: 'UTC', month: 'short', day: 'numeric' }).format(new Date(`${peak.date}T00:00:00Z`));
  await says(page, fact('.hero', 4), `${number(peak.peak)} on ${date}`);
  await says(page, `${card('daily_active_users')} dt`, /^Yesterday by /);

  // The curve, also as a table.
  assert.equal(await page.locator('.hero canvas').count(), 1);
  await page.locator('.astable summary').click();
  const rows = await page.locator('.astable tbody tr').evaluateAll((rows) => rows.map((row) => [...row.children].map((cell) => cell.textContent)));
  assert.equal(rows.length, 24, JSON.stringify(rows));
  for (const [place, [time, , yesterday, lastWeek]] of rows.entries()) {
    const hour = place + 1;
    assert.equal(time, `${String(hour % 24).padStart(2, '0')}:00`);
    assert.equal(yesterday, number(given.hours[1][hour]), `yesterday, ${time}`);
    assert.equal(lastWeek, number(given.hours[7][hour]), `last week, ${time}`);
  }
  await page.locator('.astable summary').click();
  await accessible(page, 'now');
  await shot(page, 'now-light', { fullPage: true });

  // It moves as the counter does.
  await api('POST', '/api/v1/counter/online_players/increment', { value: 5 });
  await says(page, '.hero .value', number(value + 5));
  await says(page, `${card('online_players')} .value`, number(value + 5));

  // By keyboard: everything that can be used is reached, in order.
  await page.locator('.skip').focus();
  const reached = new Set(['skip']);
  for (let step = 0; step < 60; step += 1) {
    await page.keyboard.press('Tab');
    const at = await page.evaluate(() => {
      const { activeElement: element } = document;
      if (element === document.body) return null;
      const box = element.getBoundingClientRect();
      return `${element.tagName}.${element.className} ${element.textContent.slice(0, 30)} ${Math.round(box.x)},${Math.round(box.y + scrollY)}`;
    });
    if (at === null) break;
    reached.add(at);
  }
  const usable = await page.locator('a:visible, button:visible, input:visible, select:visible, summary:visible, [tabindex="0"]:visible').count();
  assert(reached.size >= usable - 1, `${reached.size} of ${usable}: ${[...reached].join('\n')}`);
  await page.locator('.stage').focus();
  await page.keyboard.press('ArrowLeft');
  assert.match(await page.locator('.stage').getAttribute('aria-label'), /^\d\d:\d\d: Today .*, Yesterday .*, Last week /);

  // A choice stands in the address, and the way back leads back.
  await page.locator(card('total_games_played')).locator('a.cover').click();
  await says(page, '.hero h1', 'total_games_played');
  assert.equal(new URL(page.url()).search, '?counter=total_games_played');
  await page.locator(card('active_users_1h')).locator('.pin').click();
  await says(page, '.card h3', 'active_users_1h');
  assert.equal(new URL(page.url()).searchParams.get('pin'), 'active_users_1h');
  await page.reload();
  await says(page, '.hero h1', 'total_games_played');
  await page.goBack();
  await says(page, '.hero h1', 'online_players');
  await page.locator('input[type=search]').fill('games');
  await eventually('one card', async () => (await page.locator('.card').count()) === 1 || null);
  await page.locator('input[type=search]').fill('');

  // Dark, a phone, a wall.
  await page.emulateMedia({ colorScheme: 'dark' });
  await accessible(page, 'now, dark');
  await shot(page, 'now-dark', { fullPage: true });
  await page.setViewportSize({ width: 375, height: 780 });
  await page.emulateMedia({ colorScheme: 'light' });
  await accessible(page, 'now, phone');
  await eventually('it fits a phone', async () => page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  await shot(page, 'now-phone', { fullPage: true });
  await page.setViewportSize({ width: 1920, height: 1080 });
  await page.emulateMedia({ colorScheme: 'dark' });
  await page.goto(`${given.url}/?kiosk&pin=online_players`);
  await says(page, '.hero .value', number(value + 5));
  await page.waitForSelector('.hero canvas');
  assert.equal(await page.locator('nav').isVisible(), false);
  await accessible(page, 'kiosk');
  await eventually('the wall needs no scrolling', async () => page.evaluate(() => document.documentElement.scrollHeight <= innerHeight));
  await shot(page, 'kiosk');
  // A wall stays awake, by one lock, until it is left.
  await eventually('it is kept awake', async () => (await locks()) === 1);
  await page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
  assert.equal(await locks(), 1);
  await page.keyboard.press('Escape');
  await page.waitForSelector('nav:visible');
  await eventually('it may sleep', async () => (await locks()) === 0);

  // In Chinese, by the browser's own choice and by the switch.
  const taipei = await open({ locale: 'zh-TW' });
  await taipei.page.goto(given.url);
  await says(taipei.page, 'nav a', '現況');
  assert.equal(await taipei.page.getAttribute('html', 'lang'), 'zh-TW');
  await says(taipei.page, '.hero .value', number(value + 5));
  await accessible(taipei.page, 'now, Chinese');
  await shot(taipei.page, 'now-zh', { fullPage: true });
  await taipei.page.locator('.tools [lang]').click();
  await says(taipei.page, 'nav a', 'Now');
  await taipei.page.reload();
  await says(taipei.page, 'nav a', 'Now');

  assert(asked.some(({ pathname }) => pathname === '/page/uPlot.iife.min.js'));
  clean();
  taipei.clean();
});
