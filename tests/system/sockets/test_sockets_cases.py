"""Each case prints what TCP prints, on every path that its connections can take."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.cases.case import Case, every
from tests.cases.difference import difference
from tests.cases.run import Outcome, run
from tests.cases.site import Site
from tests.framework.sockets.direct import LIBRARY
from tests.framework.sockets.loopback import relays
from tests.framework.waiting import is_overloaded, wait_until

SIDE_BY_SIDE = 2
"""Much of what cases do is waiting."""


@dataclass(frozen=True)
class Runs:
    site: Site
    ahead: dict[tuple[str, str], Future[Outcome]]

    def outcome(self, case: Case, way: str) -> Outcome:
        """Of the run ahead; on an overloaded machine, where times run out, of one more if that one went wrong."""
        first = self.ahead[case.name, way].result()
        return first if first.is_right or not is_overloaded() else run(self.site, case, way)


def chosen(request: pytest.FixtureRequest) -> Iterator[tuple[Case, str]]:
    """The cases and ways of this module that the session has selected."""
    for item in request.session.items:
        if isinstance(item, pytest.Function) and item.module is request.node.obj:
            case, way = item.callspec.params["case"], item.callspec.params["way"]
            assert isinstance(case, Case) and isinstance(way, str)
            yield case, way


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """All chosen cases, which run ahead of the tests that judge them; no relay outlives them."""
    if not LIBRARY.exists():
        pytest.skip(f"no {LIBRARY}: run scripts/setup")
    with (
        Site(LIBRARY, tmp_path_factory.mktemp("programs")) as site,
        ThreadPoolExecutor(SIDE_BY_SIDE) as pool,
    ):
        yield Runs(
            site, {(case.name, way): pool.submit(run, site, case, way) for case, way in chosen(request)}
        )
        pool.shutdown(cancel_futures=True)
    wait_until(lambda: not relays(site.broker), 10, "the relays have ended")


PARAMETERS = [pytest.param(case, way, id=f"{case.name}-{way}") for case in every() for way in case.ways]


@pytest.mark.parametrize(("case", "way"), PARAMETERS)
def test_as_tcp_does(runs: Runs, case: Case, way: str) -> None:
    outcome = runs.outcome(case, way)
    assert outcome.is_right, "\n".join([f"{case.name}, {way}:", *difference(outcome)])
