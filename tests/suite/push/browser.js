// Drives a Chromium by its own protocol: opens a page, and does what each line of its input asks.
const { spawn } = require('node:child_process');
const fs = require('node:fs');
const readline = require('node:readline');
const WebSocket = require('/usr/share/nodejs/ws');
const [page, profile] = process.argv.slice(2);

const chromium = spawn('chromium', [
  '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
  '--remote-debugging-port=0', `--user-data-dir=${profile}`, 'about:blank',
], { stdio: ['ignore', 'ignore', 'pipe'] });
process.on('exit', () => chromium.kill('SIGKILL'));
process.on('SIGTERM', () => process.exit(1));

function devtools() {
  return new Promise((found) => {
    readline.createInterface({ input: chromium.stderr }).on('line', (line) => {
      const match = /DevTools listening on (ws:\S+)/.exec(line);
      if (match) found(match[1]);
    });
  });
}

async function main() {
  const browser = new WebSocket(await devtools());
  await new Promise((open) => browser.on('open', open));
  let number = 0;
  const waiting = new Map();
  browser.on('message', (text) => {
    const message = JSON.parse(text);
    waiting.get(message.id)?.(message.result ?? message.error);
    waiting.delete(message.id);
  });
  const call = (method, params = {}, sessionId) => new Promise((done) => {
    waiting.set(++number, done);
    browser.send(JSON.stringify({ id: number, method, params, sessionId }));
  });
  const { targetId } = await call('Target.createTarget', { url: 'about:blank' });
  const { sessionId } = await call('Target.attachToTarget', { targetId, flatten: true });
  await call('Page.enable', {}, sessionId);
  await call('Page.navigate', { url: page }, sessionId);
  const expression = "document.getElementById('online_players')?.textContent ?? ''";
  const deeds = {
    read: async () => ({ text: (await call('Runtime.evaluate', { expression }, sessionId)).result?.value }),
    freeze: () => call('Page.setWebLifecycleState', { state: 'frozen' }, sessionId),
    wake: () => call('Page.setWebLifecycleState', { state: 'active' }, sessionId),
  };
  const input = readline.createInterface({ input: process.stdin });
  input.on('close', () => process.exit(0));
  for await (const line of input) console.log(JSON.stringify((await deeds[JSON.parse(line).do]()) ?? {}));
}
main();
