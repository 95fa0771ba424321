"""The documents: a short README, links that lead somewhere, and an index that has every document."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from tests.framework.source_tree import ROOT, tracked

MAX_README_LINES = 150

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*$")
_ANCHOR = re.compile(r"""<a\s[^>]*?(?:id|name)=["']([^"']+)["']""")
_CODE_SPAN = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\[\]]*\])*\]\(\s*<?([^\s<>()]+)>?(?:\s+[\"'(][^)]*)?\s*\)")
_DEFINITION = re.compile(r"^ {0,3}\[[^\]]+\]:\s*<?([^\s<>]+)>?", re.MULTILINE)
_LINK_TEXT = re.compile(r"!?\[([^\[\]]*)\]\([^()]*\)")
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)
_MENTION = re.compile(r"(?<![\w/.-])docs/[\w./-]*\w\.md\b")


def prose(text: str) -> str:
    """A document without its blocks of code: fenced ones, and those indented after an empty line."""
    kept: list[str] = []
    fence = ""
    in_block = False
    empty_before = True
    for line in text.splitlines():
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence) and not line.strip(" `~"):
                fence = ""
            continue
        if mark:
            fence = mark[1]
            continue
        indented = line.startswith(("    ", "\t"))
        in_block = (indented and (in_block or empty_before)) or (in_block and not line.strip())
        if not in_block:
            kept.append(line)
        empty_before = not line.strip()
    return "\n".join(kept)


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    text = _LINK_TEXT.sub(r"\1", heading).replace("`", "")
    text = re.sub(r"<[^>]+>", "", text).lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def anchors(text: str) -> set[str]:
    """All anchors of a document; a heading that comes again has a number behind it."""
    found = set(_ANCHOR.findall(text))
    times: Counter[str] = Counter()
    for line in prose(text).splitlines():
        if match := _HEADING.match(line):
            name = slug(match[2])
            found.add(f"{name}-{times[name]}" if times[name] else name)
            times[name] += 1
    return found


def links(text: str) -> Iterator[str]:
    """The targets of a document's links and images, without those in code."""
    body = _CODE_SPAN.sub("", prose(text))
    for pattern in (_LINK, _DEFINITION):
        for match in pattern.finditer(body):
            yield match[1]


def has_anchor(document: Path, anchor: str) -> bool:
    return not anchor or (document.suffix == ".md" and anchor in anchors(document.read_text()))


def broken_links(root: Path, name: str) -> list[str]:
    """The relative links of the document `name` below `root` that lead nowhere."""
    document = root / name
    found = []
    for link in links(document.read_text()):
        if _ELSEWHERE.match(link):
            continue
        path, _, anchor = unquote(link).partition("#")
        start = root if path.startswith("/") else document.parent
        target = (start / path.lstrip("/")).resolve() if path else document.resolve()
        inside = target.is_relative_to(root.resolve())
        if not inside or not target.exists() or not has_anchor(target, anchor):
            found.append(link)
    return found


def unlisted(root: Path, documents: list[str], index: str) -> list[str]:
    """The documents that `index` has no link to."""
    place = (root / index).parent
    listed = {(place / link.partition("#")[0]).resolve() for link in links((root / index).read_text())}
    return [name for name in documents if name != index and (root / name).resolve() not in listed]


def lost_mentions(text: str) -> list[str]:
    """Documents that a comment or a message names, and that are not there."""
    named = sorted(set(_MENTION.findall(text)))
    return [name for name in named if not (ROOT / name).is_file()]


def documents() -> list[str]:
    return [name for name in tracked() if name.endswith(".md")]


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= MAX_README_LINES


def long_lines(text: str, most: int = 120) -> list[int]:
    """Numbers of the lines that are too long; a row of a table can't be folded."""
    return [
        number
        for number, line in enumerate(text.splitlines(), 1)
        if len(line) > most and not line.startswith("|") and " " in line.strip()
    ]


def test_lines_fit_a_screen() -> None:
    written = set(documents()) - {"docs/reference/compatibility.md", "docs/reference/vnicctl.md"}
    found = {name: long_lines((ROOT / name).read_text()) for name in written}
    assert not {name: lines for name, lines in found.items() if lines}
    assert long_lines("short\n| " + "x " * 80 + "|\n" + "x " * 80 + "\n" + "x" * 130) == [3]


def test_each_link_leads_somewhere() -> None:
    broken = {name: found for name in documents() if (found := broken_links(ROOT, name))}
    assert not broken


def test_each_document_is_in_the_index() -> None:
    assert not unlisted(ROOT, [name for name in documents() if name.startswith("docs/")], "docs/README.md")


def test_each_document_that_a_source_names_is_there() -> None:
    lost = {}
    for name in tracked():
        if name != "tests/unit/test_documents.py":
            text = (ROOT / name).read_text(errors="replace")
            if found := lost_mentions(text):
                lost[name] = found
    assert not lost


SAMPLE = """# A sample

[good](other.md) [good](other.md#what-it-is-not) [good](#a-sample) [good](docs) [good](https://example.org/none.md)
[gone](gone.md) [no anchor](other.md#what-it-is) [out](../../outside.md) [own](#b)
![image](gone.png) [again](other.md#twice-1) [too often](other.md#twice-2) [folded
text](gone-too.md) [titled](titled.md "a title") [`code`](other.md#code-in-it-for-_all_) `[in code](in-code.md)`
[spaced](a%20b.md) [root](/other.md) [lost root](/lost.md) [no markdown](data.txt#part)

    [in a block](in-block.md)

```
[in a fence](in-fence.md)
# not a heading
```

[reference]: reference.md
"""

OTHER = """# Other

## What it is not

## Twice
## Twice

### `code`, in [it](x.md): for _all_!
"""


def test_the_link_checker_finds_wrong_links(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "docs").mkdir(parents=True)
    (root / "sample.md").write_text(SAMPLE)
    (root / "other.md").write_text(OTHER)
    (root / "a b.md").touch()
    (root / "data.txt").touch()
    (tmp_path / "outside.md").touch()
    (tmp_path.parent / "outside.md").touch()
    assert set(broken_links(root, "sample.md")) == {
        "gone.md",
        "other.md#what-it-is",
        "../../outside.md",
        "#b",
        "gone.png",
        "other.md#twice-2",
        "gone-too.md",
        "titled.md",
        "/lost.md",
        "data.txt#part",
        "reference.md",
    }


def test_the_index_checker_finds_what_is_not_listed(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("[one](one.md#part) `[two](two.md)`\n")
    assert unlisted(tmp_path, ["README.md", "one.md", "two.md"], "README.md") == ["two.md"]


def test_anchors_are_those_of_github() -> None:
    assert slug("What `vnicctl` is - and is not") == "what-vnicctl-is---and-is-not"
    assert slug("exec, vfork, SCM_RIGHTS: relays") == "exec-vfork-scm_rights-relays"
    assert slug('"a namespace named X is left"') == "a-namespace-named-x-is-left"
    assert anchors('# One\n# One\n    \n    # code\n<a id="Two"></a>\n') == {"one", "one-1", "Two"}


def test_mentions_of_lost_documents_are_found() -> None:
    text = "see docs/README.md, docs/none/here.md and other/docs/gone.md."
    assert lost_mentions(text) == ["docs/none/here.md"]
