"""An ASGI application that echoes bodies and sends a file, read afresh each time."""

import os
from pathlib import Path

FOLDER = os.environ.get("COMPAT_FOLDER", "/")


async def whole_body(receive):
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = await whole_body(receive)
    if scope["path"].startswith("/file"):
        with Path(FOLDER, "file").open("rb") as file:
            body = file.read()
    headers = [(b"content-length", str(len(body)).encode()), (b"content-type", b"application/octet-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
