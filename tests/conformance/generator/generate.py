"""Programs from a seed: a beginning that connects, then calls at random, chosen so that most of them mean something."""

from __future__ import annotations

from collections.abc import Callable, Collection
from random import Random

from tests.conformance.generator import lives, readiness, stream
from tests.conformance.generator.beginnings import begin
from tests.conformance.generator.model import Model
from tests.conformance.program import MAX_STEPS, Program

Piece = Callable[[Model], None]

WEIGHTS: dict[Piece, int] = {
    stream.send: 22,
    stream.receive: 24,
    stream.receive_blocked: 8,
    stream.exchange: 4,
    readiness.poll: 14,
    readiness.poll_blocked: 5,
    readiness.epoll: 6,
    readiness.epoll_wait: 9,
    stream.shutdown: 8,
    stream.close: 7,
    stream.reset: 3,
    lives.reuse: 4,
    lives.duplicate: 4,
    readiness.ask: 10,
    readiness.get_option: 10,
    readiness.set_option: 6,
    readiness.names: 4,
    readiness.flags: 4,
    readiness.bad: 3,
    lives.time_out: 1,
    lives.connect_more: 6,
    lives.connect_oddly: 3,
    lives.accept_oddly: 3,
    lives.accept_blocked: 2,
    lives.listener_ends: 2,
    lives.signal_blocked: 4,
    lives.fork: 3,
    lives.process_ends: 2,
    lives.pass_descriptor: 2,
    lives.bind_taken: 2,
    lives.share_port: 1,
    stream.send_blocked: 1,
    stream.transfer: 1,
    stream.fill_and_drain: 1,
    stream.urgent: 1,
}


def generate(seed: int, number: int, without: Collection[str] = ()) -> Program:
    """The program of this number; without operations or pieces of these names."""
    random = Random(f"{seed}/{number}")
    model = Model(random)
    begin(model)
    chosen = {piece: weight for piece, weight in WEIGHTS.items() if piece.__name__ not in without}
    most = len(model.steps) + random.choice((3, 6, 10, 16, 24))
    while len(model.steps) < min(most, MAX_STEPS - 12):
        (piece,) = random.choices(list(chosen), list(chosen.values()))
        piece(model)
    steps = [step for step in model.steps[:MAX_STEPS] if step.op not in without]
    return Program(tuple(steps), f"{seed}/{number}")
