"""aiohttp at both ends: `aiohttp_echo.py serve|ask|hold HOST PORT`; bodies and a web socket are echoed."""

import asyncio
import sys

from aiohttp import ClientSession, ClientTimeout, TCPConnector, WSMsgType, web

kind, host, port = sys.argv[1:]
URL = f"http://{host}:{port}"
AT_ONCE = 8


def body_of(number: int) -> bytes:
    return (b"%d;" % number) * (1 + number * 37 % 9000)


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


async def echo_messages(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type == WSMsgType.BINARY:
            await socket.send_bytes(message.data)
    return socket


async def ask(keep: bool, count: int = 200) -> None:
    gate = asyncio.Semaphore(AT_ONCE)
    connector = TCPConnector(force_close=not keep)

    async def one(session: ClientSession, number: int) -> None:
        async with gate, session.post(f"{URL}/{number}", data=body_of(number)) as answer:
            assert await answer.read() == body_of(number), f"request {number}"

    async with ClientSession(connector=connector, timeout=ClientTimeout(total=10)) as session:
        await asyncio.gather(*(one(session, number) for number in range(count)))


async def converse(hold: bool) -> None:
    async with ClientSession() as session, session.ws_connect(f"{URL}/messages") as socket:
        for number in range(50):
            await socket.send_bytes(body_of(number))
            assert (await socket.receive(timeout=5)).data == body_of(number), f"message {number}"
        if hold:
            print("held", flush=True)
            await socket.receive()


async def ask_all() -> None:
    for keep in (True, False):
        await ask(keep)
    await converse(False)
    print("all right")


if kind == "serve":
    app = web.Application(client_max_size=1 << 24)
    app.add_routes([web.get("/messages", echo_messages), web.post("/{number}", echo)])
    web.run_app(app, host=host, port=int(port), print=None)
else:
    asyncio.run(converse(True) if kind == "hold" else ask_all())
