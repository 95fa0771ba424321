"""Messages between the hosting daemon and a partition daemon: one JSON object a packet, with file descriptors.

    partition to host                                    descriptors
      hello     name, port, generation, links [[peer, id]]  [TAP, counters] if it has them (after a host restart)
      made      link_id [, error]                          [its side of the link] if there is no error
      attached  link_id, error                             -
      closed    link_id                                    -
      want      ports                                      -
      idle      links [[peer, id]]                         -
      fast      links [[peer, id]]                         -
      gone      peer, link_id, reason                      -
      tap_gone                                             -

    host to partition
      welcome   port, generation, options                  directory [, TAP, counters [, trace ring]]
      make      link_id, peer, huge                        -
      attach    link_id, peer                              [the peer's side of the link, our doorbell]
      open      link_id, peer                              -
      close     link_id, peer                              -
      drop      link_id, peer                              -
      log                                                  its log file; none under systemd
      trim                                                 -
      stop                                                 -

    host to a spare daemon, by its standard input
      serve     name, user                                 its log file

host/links/manager.py has the life of a link; link/endpoint.py carries out the host's side of this list at each end.
"""

from __future__ import annotations

import array
import json
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any

MAX_MESSAGE = 128 * 1024
"""Bytes of a message; a hello with 255 links has about 8 KiB."""

MAX_FDS = 253
"""Descriptors that a packet can carry (SCM_MAX_FD). What there is no room for, the kernel closes in our thread."""

FDS_SPACE = socket.CMSG_SPACE(MAX_FDS * 4)

NOBODYS = "-" * 32
"""What a spare daemon has in its command line instead of a partition's name, as long as the longest name."""

MAX_PORTS = 256
"""Ports or links that a message may name."""

Message = dict[str, Any]


class DescriptorsLost(ValueError):
    """A message whose descriptors found no place in this process: too many files are open."""

    def __init__(self, message: Message) -> None:
        super().__init__("too many open files")
        self.message = message


def send(sock: socket.socket, message: Message, fds: Sequence[int] = ()) -> None:
    """Send one message; BlockingIOError when a non-blocking socket is full."""
    socket.send_fds(sock, [json.dumps(message).encode()], list(fds), socket.MSG_NOSIGNAL)


def receive(
    sock: socket.socket, discard: Callable[[Sequence[int]], None] | None = None
) -> tuple[Message, list[int]] | None:
    """The next message and its descriptors (the caller's from now on), None at the end.

    ValueError when it is not a message; then its descriptors are given to `discard`, which closes them.
    DescriptorsLost when it is one, and this process may not have as many descriptors as have come with it.
    """
    discard = discard or close_all
    data, ancillary, flags, _ = sock.recvmsg(MAX_MESSAGE, FDS_SPACE, socket.MSG_CMSG_CLOEXEC)
    fds = received_fds(ancillary)
    if not data:
        discard(fds)
        return None
    try:
        if flags & socket.MSG_TRUNC:
            raise ValueError("a message was too long")
        message = json.loads(data)
        if not isinstance(message, dict) or not isinstance(message.get("op"), str):
            raise ValueError("a message is an object with an op")
    except (ValueError, RecursionError) as error:
        discard(fds)
        raise ValueError(str(error)) from error
    if flags & socket.MSG_CTRUNC:
        discard(fds)
        raise DescriptorsLost(message)
    return message, fds


def some(values: object) -> list[Any]:
    """A list of ports or links out of a message; ValueError when it is none, or longer than there are ports."""
    if not isinstance(values, list) or len(values) > MAX_PORTS:
        raise ValueError("not a list of ports")
    return values


def close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)


def received_fds(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    """The descriptors among a packet's ancillary data. (socket.recv_fds would make them inheritable.)"""
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return list(fds)
