"""A WSGI application that echoes bodies and sends a file, read afresh each time."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any


def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    if environ["PATH_INFO"] in ("/file", "/small"):
        with Path(os.environ["COMPAT_FOLDER"], environ["PATH_INFO"][1:]).open("rb") as file:
            body = file.read()
    start_response("200 OK", [("Content-Length", str(len(body))), ("Content-Type", "text/plain")])
    return [body]
