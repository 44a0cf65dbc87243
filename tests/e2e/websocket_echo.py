"""An upstream for tests: `python websocket_echo.py PORT` sends every message back, and says what closed it.

A program of its own that needs the `websockets` library. `/health` and whatever is no WebSocket is answered with `ok`.
The message `close` has it close with code 4001.
"""

from __future__ import annotations

import asyncio
import sys

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response


def answer(connection: ServerConnection, request: Request) -> Response | None:
    if request.headers.get("Upgrade") is None:
        return connection.respond(200, "ok")
    return None


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        if message == "close":
            await connection.close(4001, "as you wish")
        await connection.send(message)


async def main(port: int) -> None:
    async with serve(echo, "127.0.0.1", port, process_request=answer, ping_interval=None, compression=None) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
