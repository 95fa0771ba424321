"""How programs begin: listeners and connections, made in each of the ways that a program can make them."""

from __future__ import annotations

from tests.conformance.generator.model import CLIENT, SERVER, Model, Socket
from tests.conformance.program import FAMILIES, OPTIONS, SOCK

POLLOUT = 4


def begin(model: Model) -> None:
    random = model.random
    family = FAMILIES["inet6" if random.random() < 0.1 else "inet"]
    listener = listen(model, family)
    if random.random() < 0.06:
        refused(model, family)
    for _ in range(random.choice((1, 1, 1, 2, 2, 3))):
        connect(model, listener)
    if random.random() < 0.3:
        warm_up(model)


def listen(model: Model, family: int) -> Socket:
    """A listening socket of the server, at the entry that has its place in the list."""
    random = model.random
    nonblock = random.random() < 0.2
    listener = Socket(SERVER, model.slot(SERVER), nonblock, family=family)
    model.add(5, "socket", listener.slot, family, SOCK["NONBLOCK"] if nonblock else 0)
    if random.random() < 0.2:
        option, value = random.choice(
            [("SO_KEEPALIVE", 1), ("TCP_NODELAY", 1), ("SO_LINGER", 3), ("SO_RCVTIMEO", 20), ("IP_TOS", 16),
             ("TCP_KEEPIDLE", 77), ("SO_REUSEADDR", 1), ("SO_RCVLOWAT", 5), ("TCP_USER_TIMEOUT", 5000),
             ("TCP_DEFER_ACCEPT", 1)]
        )  # fmt: skip
        model.add(5, "setsockopt", listener.slot, OPTIONS.index(option), value, -1)
        listener.timeout = option == "SO_RCVTIMEO"
    model.add(5, "bind", listener.slot, -1 if random.random() < 0.85 else -2)
    model.add(5, "listen", listener.slot, random.choice((5, 5, 5, 128, 1)), len(model.listeners) % 8)
    model.listeners.append(listener)
    return listener


def refused(model: Model, family: int) -> None:
    """A connect to an address where nobody listens any more."""
    slot, other = model.slot(SERVER), model.slot(CLIENT)
    model.add(5, "socket", slot, family, 0)
    model.add(5, "bind", slot, -1)
    model.add(5, "listen", slot, 5, 7)
    model.add(5, "close", slot, 0)
    nonblock = SOCK["NONBLOCK"] if model.random.random() < 0.4 else 0
    model.add(0, "socket", other, family, nonblock)
    model.add(0, "connect", other, 7)
    if nonblock:
        model.poll(0, 0, 0, other, POLLOUT)
        model.add(0, "getsockopt", other, OPTIONS.index("SO_ERROR"), -1)
    if model.random.random() < 0.5:
        model.add(0, "connect", other, 0)


def connect(model: Model, listener: Socket) -> None:
    """A connection to the listener, accepted after the connect or by a call that waits; rarely to its own end."""
    random = model.random
    entry = model.listeners.index(listener) % 8
    end = CLIENT if random.random() < 0.92 else SERVER
    client = Socket(end, model.slot(end), random.random() < 0.25)
    server = Socket(SERVER, model.slot(SERVER), timeout=listener.timeout)
    flags = (SOCK["NONBLOCK"] if client.nonblock else 0) | (SOCK["CLOEXEC"] if random.random() < 0.1 else 0)
    actor = model.actor(end)
    model.add(actor, "socket", client.slot, listener.family, flags)
    accept_flags = random.choice((-1, -1, -1, 0, SOCK["NONBLOCK"], SOCK["CLOEXEC"]))
    server.nonblock = accept_flags == SOCK["NONBLOCK"]
    accept = ("accept", listener.slot, server.slot, accept_flags, random.choice((0, 1)))
    acceptor = model.actor(SERVER)
    waits_first = random.random() < 0.2 and not listener.nonblock and not listener.timeout
    if waits_first and acceptor != actor:
        model.add(acceptor, *accept)
    model.add(actor, "connect", client.slot, entry)
    if client.nonblock and random.random() < 0.7:
        finish_connect(model, actor, client, entry)
    if random.random() < 0.15:
        model.add(actor, "send", client.slot, random.randrange(1, 60), 0, 2)
        server.unread = model.steps[-1].args[1]
    if not waits_first or acceptor == actor:
        model.add(acceptor, *accept)
    model.link(client, server)


def finish_connect(model: Model, actor: int, client: Socket, entry: int) -> None:
    """What a program does that connects without blocking."""
    random = model.random
    if random.random() < 0.8:
        model.poll(actor, random.choice((-1, 0)), random.randrange(4), client.slot, POLLOUT)
    if random.random() < 0.7:
        model.add(actor, "getsockopt", client.slot, OPTIONS.index("SO_ERROR"), -1)
    for _ in range(random.choice((0, 0, 1, 2))):
        model.add(actor, "connect", client.slot, entry)


def warm_up(model: Model) -> None:
    """A byte each way, after which a connection certainly is what it is going to be."""
    for sock in list(model.connected):
        peer = sock.peer
        if peer:
            model.add(sock.end * 5, "send", sock.slot, 1, 0, 2)
            model.add(peer.end * 5, "recv", peer.slot, 1 + peer.unread, 0, 2)
            peer.unread = 0
