"""Whether a port is in use: found by taking it, or where that is not allowed, in the kernel's tables."""

from __future__ import annotations

import socket

import pytest

from vnicd.kernel.sockets.listeners import KINDS, is_in_use, is_listed


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize(
    ("own", "asked", "used"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "0.0.0.0", True),
        ("0.0.0.0", "127.0.0.1", True),
        ("127.0.0.2", "127.0.0.1", False),
        ("127.0.0.1", "::", False),
        ("::1", "::", True),
        ("::", "::1", True),
        ("::1", "0.0.0.0", False),
    ],
)
def test_a_port_at_an_address(protocol: str, own: str, asked: str, used: bool) -> None:
    """Both ways to find out agree; a program that lets others share its port is found, too."""
    family = socket.AF_INET6 if ":" in own else socket.AF_INET
    with socket.socket(family, KINDS[protocol]) as sock:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((own, 0))
        if protocol == "tcp":
            sock.listen()
        port = sock.getsockname()[1]
        assert is_in_use(protocol, port, asked) is used
        assert is_listed(protocol, port, asked) is used
        assert is_in_use(protocol, port)
    assert not is_in_use(protocol, port)
    assert not is_listed(protocol, port, asked)


def test_a_client_of_that_port_is_no_listener() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.connect(server.getsockname())
        port = client.getsockname()[1]
        client.shutdown(socket.SHUT_RDWR)
        assert not is_listed("tcp", port, "127.0.0.1")
