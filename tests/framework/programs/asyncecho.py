"""An echo server of asyncio, and clients that check what comes back: programs as users write them."""

from __future__ import annotations

import asyncio
import random
import sys

PORT = 7007
MESSAGES = 200


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends back what comes until the other side shuts its direction."""
    while data := await reader.read(random.randrange(1, 1 << 17)):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def serve(address: str) -> None:
    server = await asyncio.start_server(echo, address, PORT)
    async with server:
        await server.serve_forever()


async def talk(address: str, seed: int) -> int:
    """One connection: messages of random sizes, written while the echo is read; the bytes that came back."""
    chance = random.Random(seed)
    sent = [chance.randbytes(chance.randrange(1, 1 << chance.randrange(1, 17))) for _ in range(MESSAGES)]
    reader, writer = await asyncio.open_connection(address, PORT)

    async def send() -> None:
        for message in sent:
            writer.write(message)
            await writer.drain()
        writer.write_eof()

    sending = asyncio.create_task(send())
    for number, message in enumerate(sent):
        assert await reader.readexactly(len(message)) == message, (
            f"seed {seed}: message {number} came back changed"
        )
    assert await reader.read() == b"", f"seed {seed}: more came back than was sent"
    await sending
    writer.close()
    await writer.wait_closed()
    return sum(map(len, sent))


async def ask(address: str, connections: int, seed: int) -> None:
    done = await asyncio.gather(*(talk(address, seed + number) for number in range(connections)))
    print(f"seed {seed}: {sum(done)} bytes came back over {connections} connections")


def main() -> None:
    role, address, *numbers = sys.argv[1:]
    asyncio.run(serve(address) if role == "serve" else ask(address, *map(int, numbers)))


if __name__ == "__main__":
    main()
