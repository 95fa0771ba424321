"""Pieces of programs that ask: what is ready, what state a descriptor is in, what its options and names are."""

from __future__ import annotations

from tests.conformance.generator.model import Model, Socket
from tests.conformance.generator.stream import send_by
from tests.conformance.program import EVENTS, OPTIONS, signed

IN, OUT, RDHUP, PRI = EVENTS["IN"], EVENTS["OUT"], EVENTS["RDHUP"], EVENTS["PRI"]
WANTED = (IN, OUT, IN | OUT, IN | OUT | RDHUP, IN | RDHUP, RDHUP, 0, IN | PRI)
ADD, DELETE, MODIFY = 1, 2, 3


def _entries(model: Model, first: Socket, most: int) -> list[int]:
    """Arguments of poll: a socket and perhaps others of its end."""
    entries = [first.slot, model.random.choice(WANTED)]
    while len(entries) < 6:
        more = len(entries) < 2 * most and model.random.random() < 0.3
        entries += [model.any_slot(first.end), model.random.choice(WANTED)] if more else [-1, 0]
    return entries


def _some(model: Model) -> Socket | None:
    return model.random.choice(model.connected + model.listeners) if model.connected else None


def poll(model: Model) -> None:
    if sock := _some(model):
        how = model.random.randrange(4)
        short = model.random.random() < 0.02
        entries = _entries(model, sock, 3)
        model.add(model.actor(sock.end), "poll", 10 if short else 0, how, *entries, timed=short)


def poll_blocked(model: Model) -> None:
    """One or two actors that wait for a socket to be readable; mostly it then becomes so."""
    random, sock = model.random, model.connection()
    if not sock or not sock.peer or sock.unread or sock.told_end or sock.shut_receive or sock.broken:
        return
    if sock.peer not in model.connected:
        return
    for _ in range(random.choice((1, 1, 2))):
        actor = model.actor(sock.end)
        if actor in model.busy:
            break
        wanted = random.choice((IN, IN | RDHUP, IN | PRI))
        model.poll(actor, -1, random.randrange(4), sock.slot, wanted)
        model.block(actor, sock)
    match random.randrange(6):
        case 0 | 1 | 2:
            send_by(model, sock.peer, random.randrange(6), random.choice((1, 10, 1000)))
        case 3:
            model.add(model.actor(sock.peer.end), "shutdown", sock.peer.slot, 1)
            model.ended(sock.peer)
        case 4:
            model.add(model.actor(sock.end), "shutdown", sock.slot, random.randrange(3))


def epoll(model: Model) -> None:
    """An epoll with some descriptors in it."""
    random = model.random
    sock = _some(model)
    if not sock:
        return
    actor = model.actor(sock.end)
    made = Socket(sock.end, model.slot(sock.end))
    model.add(actor, "epoll", made.slot, 0)
    model.epolls.append(made)
    _control(model, actor, made, sock.slot, ADD)
    for _ in range(random.choice((0, 0, 1, 2))):
        _control(model, actor, made, model.any_slot(sock.end), random.choice((ADD, ADD, MODIFY)))
    model.add(actor, "epollwait", made.slot, 0, 3, random.randrange(3))


def _control(model: Model, actor: int, made: Socket, slot: int, op: int) -> None:
    random = model.random
    events = random.choice(WANTED)
    for name, chance in (("ET", 0.35), ("ONESHOT", 0.15)):
        events |= EVENTS[name] if random.random() < chance else 0
    if op == ADD and random.random() < 0.05:
        events = (events & ~EVENTS["ONESHOT"] & ~RDHUP & ~PRI) | EVENTS["EXCLUSIVE"]
    model.add(actor, "epollctl", made.slot, op, slot, signed(events))


def epoll_wait(model: Model) -> None:
    """A change of what an epoll watches, or a look at it; a look that waits is followed by bytes."""
    random = model.random
    if not model.epolls:
        return
    made = random.choice(model.epolls)
    actor = model.actor(made.end)
    if random.random() < 0.3:
        _control(model, actor, made, model.any_slot(made.end), random.choice((ADD, MODIFY, MODIFY, DELETE)))
    if random.random() < 0.06:
        outer = Socket(made.end, model.slot(made.end))
        model.add(actor, "epoll", outer.slot, 0)
        _control(model, actor, outer, made.slot, ADD)
        model.epolls.append(outer)
        made = outer
    if random.random() < 0.15:
        model.add(actor, "epollwait", made.slot, -1, random.choice((1, 3)), random.randrange(3))
        far = [sock for sock in model.connected if sock.end != made.end]
        if far:
            send_by(model, random.choice(far), 2, 5)
        return
    model.add(actor, "epollwait", made.slot, 0, random.choice((1, 2, 3, 3)), random.randrange(3))


def ask(model: Model) -> None:
    if sock := _some(model):
        how = model.random.choice((0, 0, 0, 1, 2))
        model.add(model.actor(sock.end), "ioctl", sock.slot, how, 0)


def flags(model: Model) -> None:
    """O_NONBLOCK and close-on-exec, read and set."""
    random, sock = model.random, _some(model)
    if not sock:
        return
    actor, value = model.actor(sock.end), random.randrange(2)
    match random.randrange(6):
        case 0:
            model.add(actor, "ioctl", sock.slot, 3, value)
        case 1 | 2:
            model.add(actor, "fcntl", sock.slot, 1, value)
        case 3:
            model.add(actor, "fcntl", sock.slot, 3, value)
            return
        case _:
            model.add(actor, "fcntl", sock.slot, random.choice((0, 2)), 0)
            return
    sock.nonblock = bool(value)


def get_option(model: Model) -> None:
    if sock := _some(model):
        option = model.random.randrange(len(OPTIONS))
        if model.random.random() < 0.25:
            option = OPTIONS.index("TCP_INFO")
        length = model.random.choice((-1, -1, -1, -1, -1, -1, 0, 1, 100))
        model.add(model.actor(sock.end), "getsockopt", sock.slot, option, length)


def set_option(model: Model) -> None:
    random = model.random
    if sock := _some(model):
        option, values = random.choice(
            [("SO_KEEPALIVE", (0, 1)), ("TCP_NODELAY", (0, 1)), ("SO_LINGER", (-1, 3)), ("SO_PRIORITY", (3,)),
             ("TCP_KEEPIDLE", (77, 0)), ("TCP_KEEPCNT", (5,)), ("TCP_USER_TIMEOUT", (5000,)), ("IP_TOS", (16,)),
             ("SO_OOBINLINE", (0, 1)), ("SO_RCVLOWAT", (1, 4, 20)), ("SO_TYPE", (1,)), ("SO_ERROR", (0,)),
             ("9999", (1,)), ("SO_REUSEADDR", (0, 1)), ("SO_SNDTIMEO", (3000,)), ("TCP_CORK", (0, 1))]
        )  # fmt: skip
        length = random.choice((-1, -1, -1, -1, -1, -1, 0, 1))
        model.add(
            model.actor(sock.end),
            "setsockopt",
            sock.slot,
            OPTIONS.index(option),
            random.choice(values),
            length,
        )


def names(model: Model) -> None:
    if sock := _some(model):
        model.add(model.actor(sock.end), "name", sock.slot, model.random.randrange(2))


def bad(model: Model) -> None:
    if sock := model.connection():
        how = model.random.choice([*range(6), *range(10, 19), *range(20, 29), *range(30, 39)])
        model.add(model.actor(sock.end), "badio", sock.slot, how)
