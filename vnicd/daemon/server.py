"""The control server: requests on the control socket, answered one after the other for each client."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from vnicd import protocol
from vnicd.errors import Resources, VnicdError
from vnicd.protocol import MAX_REQUEST

log = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds that a client has to say something, and to take an answer."""

MAX_CLIENTS = 512

EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.ENOBUFS, errno.EAGAIN)

Method = Callable[[dict[str, Any]], Awaitable[Any]]


class Server:
    """Serves `methods` by name."""

    def __init__(self, methods: dict[str, Method]) -> None:
        self.methods = methods
        self.server: asyncio.Server | None = None
        self.clients = 0

    async def listen(self, path: str) -> None:
        self.server = await asyncio.start_unix_server(self._client, path, limit=MAX_REQUEST, backlog=128)

    def close(self) -> None:
        if self.server is not None:
            self.server.close()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.clients >= MAX_CLIENTS:
            writer.write(
                protocol.failure(0, Resources(f"the hosting daemon has {MAX_CLIENTS} clients already"))
            )
            writer.close()
            return
        self.clients += 1
        try:
            while line := await asyncio.wait_for(reader.readline(), PATIENCE):
                writer.write(await self._answer(line))
                await asyncio.wait_for(writer.drain(), PATIENCE)
        except TimeoutError:
            writer.transport.abort()  # closing would wait for a client that takes nothing
        except ConnectionError:
            pass
        except ValueError:  # longer than MAX_REQUEST
            writer.write(protocol.failure(0, VnicdError(f"a request has at most {MAX_REQUEST} bytes")))
        finally:
            self.clients -= 1
            writer.close()

    async def _answer(self, line: bytes) -> bytes:
        try:
            ident, name, params = protocol.parse_request(line)
        except (ValueError, RecursionError):
            return protocol.failure(0, VnicdError("this is not a request"))
        try:
            method = self.methods.get(name)
            if method is None:
                raise VnicdError(f"there is no method {name[:64]}")
            return protocol.result(ident, await method(params))
        except VnicdError as error:
            return protocol.failure(ident, error)
        except OSError as error:
            log.exception("a request failed")
            kind = Resources if error.errno in EXHAUSTED else VnicdError
            return protocol.failure(ident, kind(f"the hosting daemon can't do it: {error}"))
        except Exception as error:
            log.exception("a request failed")
            return protocol.failure(
                ident, VnicdError(f"internal error: {error!r}", "see the hosting daemon's log")
            )
