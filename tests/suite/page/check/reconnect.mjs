// The connection: one at most, whatever happens while it is made anew; and where a server answers but lets no WebSocket
// in, the page says what to do.

import { createServer, request } from 'node:http';

import { assert, enterToken, eventually, given, open, run, says, wire } from './browser.mjs';

run(async () => {
  const { url, cut } = await wire();
  const { page, clean } = await open({ server: url });
  const sockets = new Set();
  page.on('websocket', (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  await page.goto(url);
  await says(page, '.link', 'live');
  assert.equal(sockets.size, 1);
  // The connection is lost; while the page finds out whether the server is back, somebody enters a token.
  const held = [];
  const probe = '**/counters/all?limit=1';
  await page.route(probe, (route) => held.push(route));
  cut();
  await says(page, '.link', 'not live');
  await eventually('the server is asked', async () => held.length > 0);
  await enterToken(page, given.admin);
  await says(page, '.link', 'live');
  const made = [];
  page.on('websocket', (socket) => made.push(socket));
  const answered = page.waitForResponse((answer) => answer.url().endsWith('/counters/all?limit=1'));
  await Promise.all(held.splice(0).map((route) => route.continue()));
  await answered;
  // What the page makes of that answer comes before the answer to a later question.
  await page.locator('.card').nth(1).locator('a.cover').click();
  await says(page, '.card.chosen h3', await page.locator('.card h3').nth(1).textContent());
  await says(page, '.link', 'live');
  assert.equal(sockets.size, 1);
  assert.equal(made.length, 0);
  clean();

  // A name that the server does not know itself by.
  const { port } = new URL(given.url);
  const strange = `http://counters.example:${port}`;
  const named = await open({ server: strange, flags: ['--host-resolver-rules=MAP counters.example 127.0.0.1'] });
  await named.page.goto(strange);
  await says(named.page, '.notice', /The server answers, but refuses pages of the host counters\.example: name it in server\.hosts/);
  named.clean();

  // A proxy that passes requests on, and nothing else.
  const plain = createServer((asked, answer) => {
    const { upgrade, connection, ...headers } = asked.headers;
    const passed = request(`${given.url}${asked.url}`, { method: asked.method, headers }, (told) => {
      answer.writeHead(told.statusCode, told.headers);
      told.pipe(answer);
    });
    passed.on('error', () => answer.destroy());
    asked.pipe(passed);
  });
  await new Promise((over) => plain.listen(0, '127.0.0.1', over));
  const behind = `http://127.0.0.1:${plain.address().port}`;
  const through = await open({ server: behind });
  await through.page.goto(behind);
  await says(through.page, '.hero h1', 'online_players');
  await says(through.page, '.notice', /lets no WebSocket in: a proxy in front has to pass Upgrade and Connection on/);
  through.clean();
});
