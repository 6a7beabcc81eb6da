"""A client of the WebSocket with the library `websockets`: prints what it hears, a line of JSON each."""
import asyncio
import base64
import json
import sys

import websockets


async def main(url, token):
    bearer = "counterd.bearer." + base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
    async with websockets.connect(url, subprotocols=["counterd.v1", bearer]) as socket:
        await socket.send(json.dumps({"subscribe": ["a", "b"]}))
        await (await socket.ping())
        try:
            while True:
                print(await socket.recv(), flush=True)
        except websockets.ConnectionClosed as end:
            close = {"event": "close", "code": end.rcvd.code, "reason": end.rcvd.reason}
            print(json.dumps(close), flush=True)


asyncio.run(main(*sys.argv[1:]))
