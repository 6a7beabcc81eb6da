// A client of the WebSocket with the library `ws`: prints what it hears, a line of JSON each.
const WebSocket = require('/usr/share/nodejs/ws');
const [url, token] = process.argv.slice(2);
const bearer = 'counterd.bearer.' + Buffer.from(token).toString('base64url');
const socket = new WebSocket(url, ['counterd.v1', bearer]);
socket.on('open', () => socket.send(JSON.stringify({ subscribe: ['a', 'b'] })));
socket.on('message', (message) => console.log(message.toString()));
socket.on('error', (error) => console.log(JSON.stringify({ event: 'error', error: String(error) })));
socket.on('close', (code, reason) => console.log(JSON.stringify({ event: 'close', code, reason: reason.toString() })));
