"""Pieces of programs that move bytes over connections, and end connections."""

from __future__ import annotations

from tests.conformance.generator.model import Model, Socket
from tests.conformance.program import HOW, MSG, OPTIONS, SIGNALS

SEND, RECV = HOW["send"], HOW["recv"]
SIZES = (0, 1, 2, 3, 5, 8, 13, 40, 100, 700, 1000, 3000)
LARGE = 4 << 20


def _flags(model: Model, weighted: dict[str, float]) -> int:
    value = 0
    for name, chance in weighted.items():
        if model.random.random() < chance:
            value |= MSG[name]
    return value


def send(model: Model) -> None:
    if sock := model.connection():
        send_by(model, sock, model.random.randrange(len(SEND)), model.random.choice(SIZES))


def send_by(model: Model, sock: Socket, how: int, count: int) -> None:
    if SEND[how] == "sendmmsg" and sock.peer and sock.peer.waiting:
        how = SEND.index("sendmsg")  # whether two messages come together is left open
    takes_flags = SEND[how] in ("send", "sendto", "sendmsg", "sendmmsg")
    flags = _flags(model, {"NOSIGNAL": 0.3, "DONTWAIT": 0.2, "MORE": 0.02}) if takes_flags else 0
    model.add(model.actor(sock.end), "send", sock.slot, count, flags, how)
    model.sent(sock, count)


def receive(model: Model) -> None:
    """A receive that returns at once, as far as the model knows."""
    if sock := model.connection():
        receive_by(model, sock, model.random.randrange(len(RECV)), _size(model, sock))


def _size(model: Model, sock: Socket) -> int:
    near = (sock.unread, sock.unread, sock.unread + 1, max(0, sock.unread - 1), sock.unread // 2)
    return model.random.choice((*SIZES, *near))


def receive_by(model: Model, sock: Socket, how: int, count: int) -> None:
    takes_flags = RECV[how] not in ("read", "readv", "preadv2")
    flags = (
        _flags(model, {"PEEK": 0.2, "DONTWAIT": 0.3, "WAITALL": 0.15, "TRUNC": 0.15, "ERRQUEUE": 0.01})
        if takes_flags
        else 0
    )
    if RECV[how] == "recvmmsg":
        flags |= MSG["DONTWAIT"] if model.random.random() < 0.6 else MSG["WAITFORONE"]
    blocks = not sock.has_something or (flags & MSG["WAITALL"] and sock.unread < count)
    if blocks and not flags & MSG["DONTWAIT"]:
        if not takes_flags and not sock.nonblock:
            how, flags = RECV.index("recv"), MSG["DONTWAIT"]
        elif not sock.nonblock:
            flags |= MSG["DONTWAIT"]
    model.add(model.actor(sock.end), "recv", sock.slot, count, flags, how)
    if not flags & MSG["PEEK"]:
        model.received(sock, count)


def receive_blocked(model: Model) -> None:
    """A receive that waits, and then mostly something that ends it."""
    random, sock = model.random, model.connection()
    if not sock or sock.has_something or sock.waiting or not sock.peer or sock.peer not in model.connected:
        return
    actor, how, count = model.actor(sock.end), random.randrange(5), random.choice((1, 4, 10, 100, 0))
    takes_flags = RECV[how] not in ("read", "readv", "preadv2")
    flags = _flags(model, {"PEEK": 0.15, "WAITALL": 0.25, "TRUNC": 0.1}) if takes_flags else 0
    model.add(actor, "recv", sock.slot, count, flags, how, timed=sock.timeout)
    if sock.timeout or count == 0:
        return
    model.block(actor, sock)
    other = model.actor(sock.end)
    match random.randrange(10):
        case 0 | 1 | 2:
            send_by(model, sock.peer, random.randrange(5), random.choice(SIZES[1:]))
        case 3:
            model.add(model.actor(sock.peer.end), "shutdown", sock.peer.slot, 1)
            model.ended(sock.peer)
        case 4:
            model.add(other, "shutdown", sock.slot, random.randrange(3))
            model.wake(sock)
        case 5:
            close_under(model, sock, other)
        case 6:
            model.add(model.actor(sock.peer.end), "close", sock.peer.slot, random.randrange(3))
            model.closed(sock.peer)
        case 7:
            model.add(other, "kill", actor, SIGNALS[random.choice(("USR1", "USR2", "JUMP"))])
        case 8 if actor % 5 in (1, 2):
            model.add(other, "cancel", actor)
            model.wake(sock)
            model.gone.add(actor)
    if not flags & MSG["PEEK"]:
        model.received(sock, count)


def close_under(model: Model, sock: Socket, actor: int) -> None:
    """The number of a descriptor is closed while a call waits by it; something else may get the number."""
    model.add(actor, "close", sock.slot, model.random.randrange(3))
    if model.random.random() < 0.5:
        model.add(actor, "file", sock.slot, model.random.randrange(5))
    if sock.peer and model.random.random() < 0.5:
        model.poll(model.actor(sock.peer.end), 0, 0, sock.peer.slot, 1)
        send_by(model, sock.peer, 2, 10)


def send_blocked(model: Model) -> None:
    """A send into full buffers, and what ends it."""
    random, sock = model.random, model.connection()
    if not sock or not sock.peer or sock.peer not in model.connected or sock.shut_send or sock.nonblock:
        return
    if sock.peer.waiting or sock.broken:
        return
    actor, number = model.actor(sock.end), random.randrange(4)
    limited = random.random() < 0.3
    if limited:
        model.add(actor, "setsockopt", sock.slot, OPTIONS.index("SO_SNDTIMEO"), 20, -1)
    model.add(actor, "fill", sock.slot, number)
    model.add(actor, "send", sock.slot, 10, MSG["NOSIGNAL"], 2, timed=limited)
    if limited:
        return
    model.busy.add(actor)
    other = model.actor(sock.end)
    match random.randrange(7):
        case 0 | 1:
            model.add(model.actor(sock.peer.end), "drain", sock.peer.slot, number)
        case 2:
            model.add(other, "shutdown", sock.slot, random.randrange(1, 3))
        case 3:
            model.add(model.actor(sock.peer.end), "close", sock.peer.slot, random.randrange(3))
        case 4:
            model.add(other, "kill", actor, SIGNALS[random.choice(("USR1", "USR2", "JUMP"))])
        case 5:
            close_under(model, sock, other)
        case 6:
            model.add(other, "setsockopt", sock.slot, OPTIONS.index("SO_SNDBUFFORCE"), LARGE, -1)
    model.busy.discard(actor)


def exchange(model: Model) -> None:
    """A message there, and all of it received by another call."""
    sock = model.connection()
    if sock and sock.peer and sock.peer in model.connected and not sock.shut_send and not sock.peer.waiting:
        count = model.random.choice(SIZES[1:])
        send_by(model, sock, model.random.randrange(len(SEND)), count)
        model.add(model.actor(sock.peer.end), "recvall", sock.peer.slot, sock.peer.unread)
        sock.peer.unread = 0


def transfer(model: Model) -> None:
    """More than the buffers hold, so that the sender waits for the receiver."""
    sock = model.connection()
    if not sock or not sock.peer or sock.peer not in model.connected or sock.shut_send or sock.nonblock:
        return
    if sock.peer.nonblock or sock.peer.waiting or sock.broken:
        return
    model.add(model.actor(sock.end), "sendall", sock.slot, LARGE)
    model.add(model.actor(sock.peer.end), "recvall", sock.peer.slot, sock.peer.unread + LARGE, timed=True)
    sock.peer.unread = 0


def fill_and_drain(model: Model) -> None:
    random, sock = model.random, model.connection()
    if not sock or not sock.peer or sock.peer not in model.connected or sock.shut_send or sock.peer.waiting:
        return
    number = random.randrange(4)
    model.add(model.actor(sock.end), "fill", sock.slot, number)
    if random.random() < 0.5:
        model.poll(model.actor(sock.end), 0, random.randrange(4), sock.slot, 4)
    model.add(model.actor(sock.peer.end), "drain", sock.peer.slot, number)
    model.poll(model.actor(sock.end), 0, random.randrange(4), sock.slot, 4)


def urgent(model: Model) -> None:
    sock = model.connection()
    if sock and model.random.random() < 0.5:
        model.add(model.actor(sock.end), "recv", sock.slot, 1, MSG["OOB"] | MSG["DONTWAIT"], 2)
    elif sock:
        model.add(model.actor(sock.end), "send", sock.slot, 1, MSG["OOB"], 2)


def shutdown(model: Model) -> None:
    if sock := model.connection():
        how = model.random.choice((0, 1, 1, 1, 2, 2))
        model.add(model.actor(sock.end), "shutdown", sock.slot, how)
        if how > 0:
            model.ended(sock)
        if how != 1:
            sock.shut_receive = True
            model.wake(sock)


def close(model: Model) -> None:
    if sock := model.connection():
        model.add(model.actor(sock.end), "close", sock.slot, model.random.choice((0, 0, 0, 1, 1, 2)))
        model.closed(sock)


def reset(model: Model) -> None:
    """An abortive close."""
    if sock := model.connection():
        actor = model.actor(sock.end)
        model.add(actor, "setsockopt", sock.slot, OPTIONS.index("SO_LINGER"), 0, -1)
        model.add(actor, "close", sock.slot, model.random.choice((0, 0, 1)))
        model.closed(sock)
        if sock.peer:
            sock.peer.broken = True
