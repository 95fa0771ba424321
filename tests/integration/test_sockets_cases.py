"""Each case prints what TCP prints, on every path that its connections can take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cases.case import Case, every
from tests.cases.difference import difference
from tests.cases.run import run
from tests.cases.site import Site
from tests.support.direct import LIBRARY
from tests.support.loopback import relays
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Namespaces and a broker that all cases share; no relay outlives them."""
    if not LIBRARY.exists():
        pytest.skip(f"no {LIBRARY}: run scripts/setup")
    before = set(relays())
    folder: Path = tmp_path_factory.mktemp("cases")
    with Site(LIBRARY, folder) as made:
        yield made
    wait_until(lambda: not set(relays()) - before, 10, "the relays have ended")


def parameters() -> Iterator[object]:
    for case in every():
        for way in case.ways:
            yield pytest.param(case, way, id=f"{case.name}-{way}")


@pytest.mark.parametrize(("case", "way"), parameters())
def test_as_tcp_does(site: Site, case: Case, way: str) -> None:
    outcome = run(site, case, way)
    assert outcome.is_right, "\n".join([f"{case.name}, {way}:", *difference(outcome)])
