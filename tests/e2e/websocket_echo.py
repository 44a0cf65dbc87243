"""An upstream for tests: `python websocket_echo.py PORT [PEM]` sends every message back, and says what closed it.

A program of its own that needs the `websockets` library. `/health` and whatever is no WebSocket is answered with `ok`.
The message `close` has it close with code 4001. With a PEM file (key and certificate) it speaks TLS.
"""

from __future__ import annotations

import asyncio
import ssl
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


def secured(pem: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


async def main(port: int, context: ssl.SSLContext | None) -> None:
    async with serve(
        echo, "127.0.0.1", port, process_request=answer, ping_interval=None, compression=None, ssl=context
    ) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), secured(sys.argv[2]) if sys.argv[2:] else None))
