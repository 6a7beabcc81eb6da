// Counters: finding, seeing and administering them. What strangers wrote into them is shown as text.

import { accessible, api, assert, enterToken, eventually, focused, given, open, reportViolations, run, says, shot } from './browser.mjs';

const EVIL = '<img src=x onerror="document.title=1"><script>document.title=2</script>&amp;"\'';

run(async () => {
  await api('PUT', '/api/v1/counter/winter_event', { kind: 'sum', max: 1_000_000, description: EVIL });
  await api('POST', '/api/v1/counter/winter_event/increment', { value: 41 });
  await api('POST', '/api/v1/counter/winter_event/adjust', { delta: -1, reason: EVIL });
  const { context, page, clean } = await open();
  await reportViolations(context);
  await page.goto(`${given.url}/?view=counters`);
  await says(page, '.list .name', /^active_users_1h/);
  await page.locator('input[type=search]').fill('winter');
  await eventually('one is found', async () => (await page.locator('.list li').count()) === 1);
  await page.locator('.list a').focus();
  await page.keyboard.press('Enter');
  await says(page, '.panel h2', /./);
  await says(page, '.panel .value', '40');
  await says(page, '.panel .description', EVIL);
  assert.match(await focused(page), /^winter_event/, 'the list was made anew');
  await eventually('the reason is text', async () => (await page.locator('.events').textContent()).includes(`adjusted 41 → 40: ${EVIL}`));
  assert.equal(await page.locator('main img, main script').count(), 0);
  assert.equal(await page.title(), 'Counters · counterd');
  const shown = new URL(page.url()).searchParams;
  assert.deepEqual([shown.get('q'), shown.get('counter')], ['winter', 'winter_event']);

  // Without the administrator's token nothing can be done; a wrong one is told as such.
  assert.equal(await page.locator('.deed').count(), 0);
  const deed = (title) => page.locator(`.deed:has(summary:text-is("${title}"))`);
  const unfold = async (title) => {
    await deed(title).waitFor();
    if (!(await deed(title).evaluate((details) => details.open))) await deed(title).locator('summary').click();
    return deed(title);
  };
  await enterToken(page, 'wrong');
  let form = await unfold('Adjust the value');
  await form.locator('input').first().fill('7');
  await form.locator('input').nth(1).fill('because');
  await form.locator('button').click();
  await says(page, '.deed[open] .fault', 'The server does not know this token.');
  // It is not sent again.
  await says(page, '.tools button:last-child', 'Token');
  await form.locator('button').click();
  await says(page, '.deed[open] .fault', /^This needs the administrator's token/);
  await enterToken(page, given.admin);

  // Adjust.
  form = await unfold('Adjust the value');
  await form.locator('input').first().fill('1.5');
  await form.locator('button').click();
  await says(page, '.deed[open] .fault', 'Give a whole number.');
  await form.locator('input').first().fill('12');
  await form.locator('button').click();
  await says(page, '.deed[open] .fault', 'This is needed.');
  await form.locator('input').nth(1).fill('counted by hand');
  await form.locator('button').click();
  await says(page, '.deed[open] .done', 'The value went from 40 to 12.');
  await says(page, '.panel .value', '12');
  await eventually('the event', async () => (await page.locator('.events').textContent()).includes('40 → 12: counted by hand'));

  // The answer is lost, and each of those to the page's own attempts; the one who clicks again moves it once.
  await context.route('**/adjust', async (route) => {
    await route.fetch();
    await route.abort();
  });
  form = await unfold('Adjust the value');
  await form.locator('select').selectOption('delta');
  await form.locator('input').first().fill('7');
  await form.locator('input').nth(1).fill('the answer is lost');
  await form.locator('button').click();
  await says(page, '.deed[open] .fault', /^It is not known whether this was done .* Send it again, unchanged/);
  await context.unroute('**/adjust');
  await form.locator('button').click();
  await says(page, '.deed[open] .done', 'The value went from 12 to 19.');
  assert.equal((await api('GET', '/api/v1/counter/winter_event')).value, 19);
  // Once that is known, the same again is another.
  await form.locator('select').selectOption('delta');
  await form.locator('input').first().fill('-7');
  await form.locator('input').nth(1).fill('back');
  await form.locator('button').click();
  await says(page, '.deed[open] .done', 'The value went from 19 to 12.');
  await eventually('the form is empty', async () => (await form.locator('input').first().inputValue()) === '');
  assert.equal(await form.locator('.fault').textContent(), '');

  // Reset: only with the name typed in.
  form = await unfold('Reset to 0');
  await form.locator('input').fill('winter_even');
  await form.locator('button').click();
  await says(page, '.deed:has(.danger) .fault', 'This is not the counter\'s name.');
  assert.equal((await api('GET', '/api/v1/counter/winter_event')).value, 12);
  await form.locator('input').fill('winter_event');
  await accessible(page, 'counters, administered');
  await shot(page, 'counters-light', { fullPage: true });
  await form.locator('button').click();
  await says(page, '.deed:has(.danger) .done', 'The value was 12 and is 0 now.');
  assert.equal((await api('GET', '/api/v1/counter/winter_event')).value, 0);

  // The definition: what is not shown stays as it was, to the last digit.
  await api('PUT', '/api/v1/counter/winter_event', { kind: 'sum', max: 999, description: 'Winter' });
  await page.reload();
  form = await unfold('Change the definition');
  const max = form.locator('input').nth(1);
  assert.equal(await max.inputValue(), '999');
  await max.fill('9007199254740993');
  await form.locator('button').click();
  await says(page, '.deed[open] .done', 'winter_event is defined.');
  const answer = await fetch(`${given.url}/api/v1/counters/all?prefix=winter`);
  assert.match(await answer.text(), /"max":9007199254740993,/);
  await page.reload();
  form = await unfold('Change the definition');
  assert.equal(await form.locator('input').nth(1).inputValue(), '9007199254740993');

  // Saved again and again: what was not changed stays, also what somebody else changed meanwhile.
  const expires_at = new Date(Date.now() + 200 * 86_400_000).toISOString();
  await api('PUT', '/api/v1/counter/winter_event', { kind: 'sum', max: 999, on_bound: 'clamp', expires_at, description: 'Winter' });
  const defined = async () => (await api('GET', '/api/v1/counters/all?prefix=winter')).counters[0].definition;
  for (const [description, most] of [['Winter, first', 999], ['Winter, second', 999], ['Winter, third', 1234]]) {
    if (most !== 999) await api('PUT', '/api/v1/counter/winter_event', { ...(await defined()), max: most });
    await form.locator('input').last().fill(description);
    await form.locator('button').click();
    await eventually(description, async () => (await defined()).description === description || null);
    assert.deepEqual(await defined(), { kind: 'sum', reset: 'never', min: 0, max: most, on_bound: 'clamp', expires_at, description });
    await says(page, '.deed[open] .done', 'winter_event is defined.');
    await eventually('the form shows it', async () => (await form.locator('input').nth(1).inputValue()) === String(most));
  }

  // 200 days on it may be another year.
  const yearOf = (at) => new Date(at + 8 * 3_600_000).toISOString().slice(0, 4);
  const year = yearOf(Date.parse(expires_at));
  const expires = await page.locator('.facts > div:has(dt:text-is("Expires")) dd').textContent();
  assert.equal(expires.includes(year), year !== yearOf(Date.now()), expires);
  await shot(page, 'counters-form', { fullPage: true });

  // Silence.
  form = await unfold('Silence alerts');
  await form.locator('input').fill('maintenance');
  await form.locator('button').click();
  await says(page, '.deed:has(summary:text-is("Silence alerts")) .done', /^Silent until (\d+ \w+, )?\d\d:\d\d\.$/);
  const { silences } = await api('GET', '/api/v1/alerts');
  assert.deepEqual(silences.map(({ counters, reason }) => [counters, reason]), [[['winter_event'], 'maintenance']]);

  // Define a new one; a name that is none is refused with the server's words.
  form = await unfold('Define a counter');
  await form.locator('input').first().fill('Bad Name');
  await form.locator('button').click();
  await says(page, '.deed:has(summary:text-is("Define a counter")) .fault', /1 to 100 characters/);
  await form.locator('input').first().fill('guild_war');
  await form.locator('select').first().selectOption('unique');
  await form.locator('select').nth(1).selectOption('daily');
  await form.locator('input').last().fill('Guild war');
  await form.locator('button').click();
  await says(page, '.panel h2', /./);
  await eventually('it is shown', async () => new URL(page.url()).searchParams.get('counter') === 'guild_war');
  const { counters: [made] } = await api('GET', '/api/v1/counters/all?prefix=guild_war');
  assert.deepEqual([made.kind, made.reset, made.definition.description], ['unique', 'daily', 'Guild war']);

  // The token is in this tab alone, and never in an address.
  assert.equal(await page.evaluate(() => JSON.stringify(localStorage).includes('admin-token')), false);
  assert.equal(await page.evaluate(() => sessionStorage.getItem('counterd.token')), given.admin);
  await page.emulateMedia({ colorScheme: 'dark' });
  await accessible(page, 'counters, dark');
  await shot(page, 'counters-dark', { fullPage: true });
  await page.setViewportSize({ width: 375, height: 780 });
  await accessible(page, 'counters, phone');
  assert(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'it fits a phone');
  await shot(page, 'counters-phone', { fullPage: true });
  clean();
});
