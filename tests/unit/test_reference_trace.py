"""docs/reference/trace.md names all kinds of records and keys that there are, and each kind is recorded somewhere."""

from __future__ import annotations

import re

from tests.framework.reference import named, part, rows, words
from tests.unit.test_reference import dict_keys, differences, document, sources
from vnicd.host import tracing
from vnicd.native import trace


def test_kinds_of_a_trace() -> None:
    text = part(document("trace.md"), "Kinds")
    documented = {words(row[0])[0]: tuple(words(row[1])) for row in rows(text, "kind")}
    assert documented == trace.KINDS
    assert not differences(named(text, header="kind"), trace.KINDS)


def test_keys_of_a_trace() -> None:
    assert not differences(named(document("trace.md"), header="key"), dict_keys(tracing.record))


def test_each_kind_of_a_trace_is_recorded() -> None:
    noted = {
        kind
        for source in sources("vnicd", ".py")
        for kind in re.findall(r'(?:\bnote\(|_note\(link, )\s*"(\w+)"', source)
    }
    noted |= {
        kind for source in sources("cext", ".pxd") for kind in re.findall(r"trace\(e, VN_TRACE_(\w+)", source)
    }
    assert noted | {"error", "warning"} == set(trace.KINDS), "those two are of the handler"
