"""Pieces of programs about the lives of descriptors and processes: copies, forks, signals, deaths, odd connects."""

from __future__ import annotations

from tests.conformance.generator.beginnings import connect
from tests.conformance.generator.model import Model, Socket
from tests.conformance.program import FAMILIES, OPTIONS, SIGNALS, SOCK


def reuse(model: Model) -> None:
    """A closed number that something else gets, which is then read and written."""
    random, sock = model.random, model.connection()
    if not sock:
        return
    actor = model.actor(sock.end)
    model.add(actor, "close", sock.slot, random.choice((0, 1, 1, 2)))
    model.closed(sock)
    model.add(actor, "file", sock.slot, random.randrange(5))
    for _ in range(random.choice((1, 2))):
        if random.random() < 0.7:
            model.add(actor, "recv", sock.slot, random.choice((4, 100)), 0, random.randrange(2))
        else:
            model.add(actor, "fcntl", sock.slot, 0, 0)


def duplicate(model: Model) -> None:
    """A copy of a descriptor; mostly the first one is then closed."""
    random, sock = model.random, model.connection()
    if not sock:
        return
    actor, how = model.actor(sock.end), random.randrange(5)
    onto = model.any_slot(sock.end) if how in (1, 2) and random.random() < 0.3 else model.slot(sock.end)
    model.add(actor, "dup", sock.slot, onto, how)
    if random.random() < 0.6:
        model.add(actor, "close", sock.slot, random.choice((0, 0, 1)))
        sock.slot = onto
        return
    copy = Socket(sock.end, onto, sock.nonblock)
    model.others.append(copy)


def connect_more(model: Model) -> None:
    if model.listeners:
        connect(model, model.random.choice(model.listeners))


def connect_oddly(model: Model) -> None:
    """A connect of a socket that has a connection, or to an address that is none."""
    if sock := model.connection():
        entry = model.random.choice((0, 0, -1, -1, -2, -3, -4))
        model.add(model.actor(sock.end), "connect", sock.slot, entry)
        if entry == -1:
            model.closed(sock)
            if model.random.random() < 0.5:
                model.add(model.actor(sock.end), "connect", sock.slot, 0)


def accept_oddly(model: Model) -> None:
    """An accept where nothing waits, by a socket that does not block; or one that does not listen."""
    random = model.random
    listener = random.choice(model.listeners)
    actor = model.actor(listener.end)
    if random.random() < 0.3:
        sock = model.connection()
        if sock:
            model.add(model.actor(sock.end), "accept", sock.slot, model.slot(sock.end), -1, 0)
        return
    if not listener.nonblock:
        model.add(actor, "fcntl", listener.slot, 1, 1)
        listener.nonblock = True
    model.add(
        actor,
        "accept",
        listener.slot,
        model.slot(listener.end),
        random.choice((-1, 0, 64)),
        random.randrange(3),
    )


def accept_blocked(model: Model) -> None:
    """An accept that waits, and what ends it."""
    random = model.random
    listener = random.choice(model.listeners)
    if listener.nonblock or listener.timeout:
        return
    actor = model.actor(listener.end)
    model.add(
        actor, "accept", listener.slot, model.slot(listener.end), random.choice((-1, 0)), random.randrange(2)
    )
    model.busy.add(actor)
    other = model.actor(listener.end)
    match random.randrange(5):
        case 0 | 1:
            model.add(other, "kill", actor, SIGNALS[random.choice(("USR1", "USR2", "JUMP"))])
        case 2:
            model.add(other, "shutdown", listener.slot, random.randrange(3))
        case 3:
            model.add(other, "close", listener.slot, random.randrange(2))
    client = model.slot(0)
    model.add(0, "socket", client, listener.family, 0)
    model.add(0, "connect", client, model.listeners.index(listener) % 8)
    model.busy.discard(actor)


def listener_ends(model: Model) -> None:
    """A listener that is shut down or closed, mostly with a connection that waits; then another connect."""
    random = model.random
    listener = random.choice(model.listeners)
    end, client = listener.end, model.slot(0)
    actor = model.actor(0)
    if random.random() < 0.6:
        model.add(actor, "socket", client, FAMILIES["inet"], SOCK["NONBLOCK"] if random.random() < 0.3 else 0)
        model.add(actor, "connect", client, 0)
        model.connected.append(Socket(0, client, told_end=True))
    if random.random() < 0.4:
        model.add(model.actor(end), "shutdown", listener.slot, random.randrange(3))
    else:
        model.add(model.actor(end), "close", listener.slot, random.choice((0, 0, 1)))
    model.poll(actor, 0, 0, client, 1)
    other = model.slot(0)
    model.add(actor, "socket", other, FAMILIES["inet"], 0)
    model.add(actor, "connect", other, 0)


def signal_blocked(model: Model) -> None:
    """A signal that comes to an actor, which is mostly in a blocking call."""
    random = model.random
    name = random.choice(("USR1", "USR1", "USR2", "JUMP"))
    actors = sorted(model.busy) or [model.actor(random.randrange(2))]
    target = random.choice(actors)
    model.add(0, "kill", target, SIGNALS[name])
    if name != "USR1":
        model.busy.discard(target)
        for sock in model.connected:
            sock.waiting = [actor for actor in sock.waiting if actor != target]


def time_out(model: Model) -> None:
    """SO_RCVTIMEO, and a receive that it ends, perhaps of a socket that another thread closes meanwhile."""
    random, sock = model.random, model.connection()
    if not sock or sock.unread or sock.told_end or sock.nonblock or sock.broken:
        return
    option = OPTIONS.index("SO_RCVTIMEO")
    actor = model.actor(sock.end)
    model.add(actor, "setsockopt", sock.slot, option, 20, -1)
    if random.random() < 0.7:
        model.add(actor, "recv", sock.slot, 10, 0, random.randrange(5), timed=True)
        model.add(actor, "setsockopt", sock.slot, option, 0, -1)
        return
    model.add(actor, "recv", sock.slot, 10, 0, random.randrange(5))
    other = next((each for each in range(sock.end * 5, sock.end * 5 + 3) if each != actor), actor)
    model.add(other, "close", sock.slot, random.choice((0, 1)))
    model.add(other, "await", actor)
    model.closed(sock)


def fork(model: Model) -> None:
    """A further process with the same descriptors; often the first one then closes one of them."""
    random = model.random
    end = random.randrange(2)
    number = next((each for each in range(2) if end * 5 + 3 + each not in model.processes | model.gone), None)
    if number is None or end * 5 in model.gone:
        return
    parent = model.actor(end)
    model.add(parent, "fork", number, random.randrange(6))
    model.processes.add(end * 5 + 3 + number)
    mine = [sock for sock in model.connected if sock.end == end]
    if mine and random.random() < 0.6:
        model.add(parent, "close", random.choice(mine).slot, random.choice((0, 1)))


def pass_descriptor(model: Model) -> None:
    """A connection goes to another process of its end, or to another place in the same, by a Unix socket."""
    if sock := model.connection():
        model.add(model.actor(sock.end), "give", sock.slot)
        place = model.slot(sock.end)
        if model.random.random() < 0.4:
            model.add(model.actor(sock.end), "close", sock.slot, 0)
        model.add(model.actor(sock.end), "take", place)
        sock.slot = place


def bind_taken(model: Model) -> None:
    """A bind to an address that a listener has or had, and a listener of the same port if both want to share it."""
    random = model.random
    listener = random.choice(model.listeners)
    actor, slot = model.actor(listener.end), model.slot(listener.end)
    model.add(actor, "socket", slot, FAMILIES["inet"], 0)
    if random.random() < 0.4:
        name = random.choice(("SO_REUSEADDR", "SO_REUSEPORT"))
        model.add(actor, "setsockopt", slot, OPTIONS.index(name), 1, -1)
    model.add(actor, "bind", slot, 0)
    model.add(actor, "listen", slot, 5, 6)


def share_port(model: Model) -> None:
    """Two listeners at one port, and connections that come to either."""
    random = model.random
    slots = [model.slot(1), model.slot(1)]
    actor = model.actor(1)
    for index, slot in enumerate(slots):
        model.add(actor, "socket", slot, FAMILIES["inet"], SOCK["NONBLOCK"])
        model.add(actor, "setsockopt", slot, OPTIONS.index("SO_REUSEPORT"), 1, -1)
        model.add(actor, "bind", slot, 4 if index else -1)
        model.add(actor, "listen", slot, 50, 4 + index)
    for _ in range(random.choice((1, 2, 3))):
        client, server = Socket(0, model.slot(0)), Socket(1, model.slot(1))
        model.add(0, "socket", client.slot, FAMILIES["inet"], 0)
        model.add(0, "connect", client.slot, 4)
        model.add(actor, "acceptany", *slots, server.slot)
        model.link(client, server)


def process_ends(model: Model) -> None:
    """A process that exits or is killed."""
    random = model.random
    end = random.randrange(2)
    actors = [actor for actor in (end * 5, *model.processes) if actor // 5 == end and actor not in model.gone]
    if not actors or len(model.steps) < 8:
        return
    actor = random.choice(actors)
    if random.random() < 0.5 and actor not in model.busy:
        model.add(actor, "exit", random.randrange(2))
    else:
        model.add(5 - end * 5, "kill", actor, SIGNALS["KILL"])
    if actor in model.processes:
        model.processes.discard(actor)
        model.gone.add(actor)
    else:
        model.end_gone(end)
