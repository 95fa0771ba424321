"""A declared fabric: its options, its uplink and its partitions, as a TOML file or a JSON tree of the same form.

What is checked here is all that can be told without looking at the machine. An error names the file, the line and
the key: fabric.toml:7: partitions.web.mtu: the MTU must be 576 to 65000, not 70000.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from vnicd.config import CONFIG_DIR, NETWORK_OPTIONS, Options, make_options
from vnicd.errors import Invalid, NotFound, NotPermitted, VnicdError
from vnicd.spec.partition import PartitionSpec, check_name, check_pairs, make_partition
from vnicd.spec.pool import check_gateways, check_subnets
from vnicd.spec.toml_lines import Key, line_of
from vnicd.spec.uplink import MAX_PUBLISHED, Publish, UplinkSpec, make_uplink

DEFAULT_FILE = str(CONFIG_DIR / "vnicd.toml")
STDIN = Path("/dev/stdin")

OPTION_KEYS = ("hugepages", "idle_timeout", "poll_us", "log_level", "names", *NETWORK_OPTIONS)
UPLINK_KEYS = ("nic", "mode", "subnets", "addresses", "publish", "propagate_link")
PARTITION_KEYS = ("addresses", "mac", "mtu", "ifname", "netns", "gateways", "rate", "rate_in", "publish")
OPEN_KEYS = ("addresses", "gateways")
"""What a partition behind an uplink in nat mode is given when it is left out; an empty list is none at all."""

MAX_SIZE = 1 << 20
MAX_ITEMS = MAX_PUBLISHED
"""Of any list or table; it is published ports that there can be most of."""
MAX_DEPTH = 5
"""Tables and lists in each other: partitions, one of them, its addresses; the rest for what is just wrong."""
MAX_NUMBER = (1 << 63) - 1
"""TOML promises no more, and Python can't even print what has thousands of digits."""

T = TypeVar("T")
Tree = dict[str, Any]


@dataclass(frozen=True)
class Declared:
    """What a fabric should be, or is; published ports are in one order, so that two of them can be compared."""

    options: Options = field(default_factory=Options)
    uplink: UplinkSpec | None = None
    partitions: Mapping[str, PartitionSpec] = field(default_factory=dict)
    empty: frozenset[tuple[str, str]] = frozenset()
    """Partitions and those of their OPEN_KEYS that stay empty also in nat mode."""

    def __post_init__(self) -> None:
        if self.uplink is not None:
            ordered = tuple(sorted(self.uplink.publish, key=lambda each: (each.name, each.port, str(each))))
            object.__setattr__(self, "uplink", replace(self.uplink, publish=ordered))

    @property
    def is_something(self) -> bool:
        """Whether it names an uplink or a partition; a start with a file that does not leaves the fabric as it is."""
        return self.uplink is not None or bool(self.partitions)


def load(path: Path, streams: bool = False) -> Declared:
    """The fabric that a file declares, or with `streams` a pipe or device; VnicdError when that fails."""
    name = "standard input" if path == STDIN else str(path)
    try:
        if not streams and path.exists() and not path.is_file():  # to open a pipe could take for ever
            raise Invalid(f"{name} is not a regular file")
        # Standard input may be a socket, as under sshd, which can't be opened by a name.
        with open(0, "rb", closefd=False) if path == STDIN else path.open("rb") as file:
            data = file.read(MAX_SIZE + 1)
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {name}") from error
    except PermissionError as error:
        raise NotPermitted(f"{name} can't be read: {error.strerror}") from error
    except OSError as error:
        raise VnicdError(f"{name} can't be read: {error.strerror}") from error
    if len(data) > MAX_SIZE:
        raise Invalid(f"{name} is larger than {MAX_SIZE >> 20} MiB")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Invalid(f"{name}:{line}: this is not UTF-8") from error
    return parse(text, name)


def parse(text: str, name: str) -> Declared:
    """The fabric that a TOML text declares; `name` is that of its file, for error messages."""
    text = text.replace("\r\n", "\n")
    try:
        tree = tomllib.loads(text)
    except RecursionError as error:
        raise Invalid(f"{name}: this is nested too deeply") from error
    except ValueError as error:
        raise Invalid(_syntax_error(text, name, str(error))) from error
    return _Reader(lambda key: f"{name}:{line_of(text, key)}: ").declared(tree)


def from_json(tree: object) -> Declared:
    """The fabric that a tree of the file's form declares; Invalid names the key that is wrong."""
    return _Reader(lambda key: "").declared(tree)


_PLACE = re.compile(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", re.DOTALL)
_LONG_NUMBER = re.compile(r"[0-9_]{4300}")
"""Python reads no decimal number of more digits, and tomllib does not say where there is one."""


def _syntax_error(text: str, name: str, message: str) -> str:
    match = _PLACE.fullmatch(message)
    if match is None:
        number = _LONG_NUMBER.search(text)
        return (
            f"{name}:{text.count(chr(10), 0, number.start() if number else 0) + 1}: this number is too large"
        )
    return f"{name}:{match[2] or text.rstrip().count(chr(10)) + 1}: not TOML: {match[1]}"


class _Reader:
    """`place(key)` is what an error about a key begins with."""

    def __init__(self, place: Callable[[Key], str]) -> None:
        self.place = place

    def declared(self, tree: object) -> Declared:
        self._check_sizes((), tree)
        top = self._table((), tree, (*OPTION_KEYS, "uplink", "partitions"))
        options = self._make((), _options, {key: top[key] for key in OPTION_KEYS if key in top})
        tables = self._table(("partitions",), top.get("partitions", {}))
        partitions: dict[str, PartitionSpec] = {}
        published: list[tuple[Key, object]] = []
        empty = set()
        for name, value in tables.items():
            key = ("partitions", name)
            given = self._table(key, value, PARTITION_KEYS)
            partitions[name] = self._partition(key, name, given)
            published += self._published(key, given)
            empty |= {(name, each) for each in OPEN_KEYS if given.get(each) == []}
        self._check_apart(partitions)
        return Declared(options, self._uplink(top.get("uplink"), published), partitions, frozenset(empty))

    # ----------------------------------------------------------------------------------- the parts

    def _partition(self, key: Key, name: str, given: Tree) -> PartitionSpec:
        try:
            check_name(name)
        except Invalid as error:
            raise self._wrong(key, error) from error
        words = {each: given[each] for each in PARTITION_KEYS if each in given and each != "publish"}
        return self._make(key, partial(make_partition, name), words)

    def _published(self, key: Key, given: Tree) -> Iterator[tuple[Key, object]]:
        """The ports that a partition publishes, with its name put in."""
        key = (*key, "publish")
        items = given.get("publish", [])
        if not isinstance(items, list):
            raise self._wrong(key, Invalid("publish must be a list"))
        for number, item in enumerate(items):
            head, colon, target = item.rpartition(":") if isinstance(item, str) else ("", "", "")
            # What has another number of parts would name a partition, this one or another.
            if not colon or head.rpartition(":")[2].strip("0123456789"):
                hint = "write it as HOST PORT:PARTITION PORT, as 8080:80"
                raise self._wrong((*key, number), Invalid(f"{item!r} is not a port to publish", hint))
            yield (*key, number), f"{head}:{key[1]}:{target}"

    def _uplink(self, value: object, published: list[tuple[Key, object]]) -> UplinkSpec | None:
        key: Key = ("uplink",)
        given = self._table(key, value, UPLINK_KEYS) if value is not None else {}
        is_none = given.get("mode") == "none"
        if is_none and "nic" in given:
            raise self._wrong((*key, "nic"), Invalid("there is none in mode none", "leave it out"))
        if is_none and not given.get("addresses"):
            raise self._wrong(
                key, Invalid("there are no addresses", 'name one: addresses = ["10.77.0.254/24"]')
            )
        if not is_none and given.get("addresses"):
            raise self._wrong((*key, "addresses"), Invalid('this needs mode = "none"'))
        if value is not None and not is_none and "nic" not in given:
            raise self._wrong(key, Invalid("there is no nic", 'name one: nic = "eth1"'))
        own = given.get("publish", [])
        if isinstance(own, list):
            keys: list[Key] = [("uplink", "publish", number) for number in range(len(own))]
            keys += [each for each, _ in published]
            if len(keys) > MAX_ITEMS:
                raise self._wrong(keys[MAX_ITEMS], Invalid(f"at most {MAX_ITEMS} ports can be published"))
            if keys:
                given = {**given, "publish": [*own, *(text for _, text in published)]}
        else:
            keys = []
        if given.get("mode") != "nat":
            for each in (key for key in ("subnets", "publish") if given.get(key)):
                blamed = keys[0] if each == "publish" and keys else ("uplink", each)
                raise self._wrong(blamed, Invalid(f"{_last_word(blamed)} needs an uplink in nat mode"))
        if value is None:
            return None
        words = {each: given[each] for each in UPLINK_KEYS if each in given}
        if is_none:
            del words["mode"]
            return self._make(key, partial(make_uplink, None, "none"), words)
        moved: dict[Key, Key] = {("uplink", "publish", number): at for number, at in enumerate(keys)}
        return self._make(key, make_uplink, words, moved)

    def _check_apart(self, partitions: Mapping[str, PartitionSpec]) -> None:
        """No two partitions can have the same address, MAC or place."""
        owners: dict[tuple[str, str], str] = {}
        for name, spec in partitions.items():
            claims: list[tuple[Key, str]]
            claims = [(("addresses", n), text.split("/")[0]) for n, text in enumerate(spec.addresses)]
            claims += [(("mac",), spec.mac)] if spec.mac else []
            claims += [(("netns",), f"{spec.ifname} in {spec.netns_path}")]
            for at, what in claims:
                owner = owners.setdefault((str(at[0]), what), name)
                if owner != name:
                    text = f"{what} is already that of partition {owner}"
                    raise self._wrong(("partitions", name, *at), Invalid(text))

    def _check_sizes(self, key: Key, value: object) -> None:
        """What is too much for the checks that follow: they would take long, also for the hosting daemon's clients."""
        if isinstance(value, int) and abs(value) > MAX_NUMBER:
            raise self._wrong(key, Invalid("this number is too large"))
        if not isinstance(value, dict | list):
            return
        parts = list(value.items() if isinstance(value, dict) else enumerate(value))
        if len(key) > MAX_DEPTH:
            raise self._wrong(key, Invalid("this is nested too deeply"))
        if len(parts) > MAX_ITEMS:
            raise self._wrong(
                (*key, parts[MAX_ITEMS][0]), Invalid(f"there can be {MAX_ITEMS} of these at most")
            )
        for each, inner in parts:
            self._check_sizes((*key, each), inner)

    # -------------------------------------------------------------------------------------- errors

    def _table(self, key: Key, value: object, known: tuple[str, ...] | None = None) -> Tree:
        if not isinstance(value, dict):
            raise self._wrong(key, Invalid(f"this must be a table, not {value!r}"[:100]))
        for each in value:
            if known is not None and each not in known:
                raise self._wrong((*key, each), _unknown(each, known))
        return value

    def _make(
        self, key: Key, make: Callable[..., T], given: Tree, moved: Mapping[Key, Key] | None = None
    ) -> T:
        """make(**given); an error is that of the first key, or item of a list, with which it comes."""
        try:
            return make(**given)
        except Invalid as error:
            at, found = _culprit(make, given, error)
            at = (*key, *at)
            raise self._wrong((moved or {}).get(at, at), found) from error

    def _wrong(self, key: Key, error: Invalid) -> Invalid:
        parts = [_bare(part) for part in key if isinstance(part, str)]
        hint = "" if "--" in error.hint else error.hint  # words of the command line are not the file's
        return Invalid(f"{self.place(key)}{'.'.join(parts)}{': ' if parts else ''}{error.message}", hint)


def _last_word(key: Key) -> str:
    return next(str(part) for part in reversed(key) if isinstance(part, str))


def _culprit(make: Callable[..., T], given: Tree, error: Invalid) -> tuple[Key, Invalid]:
    """The key, and the item if it has a list, with which the error comes; and that error."""
    before: Tree = {}
    for key, value in given.items():
        steps = [value[:n] for n in range(1, len(value) + 1)] if isinstance(value, list) else [value]
        for number, step in enumerate(steps):
            try:
                make(**before, **{key: step})
            except Invalid as found:
                return ((key, number) if isinstance(value, list) else (key,)), found
        before[key] = value
    return (), error


def _unknown(key: str, known: tuple[str, ...]) -> Invalid:
    import difflib  # for mistakes only

    close = difflib.get_close_matches(key.lower(), known, 1, 0.5)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
    return Invalid("there is no such key", hint)


def _options(
    hugepages: object = Options.hugepages,
    idle_timeout: object = Options.idle_timeout,
    poll_us: object = Options.poll_us,
    log_level: object = Options.log_level,
    names: object = Options.names,
    subnets: object = (),
    gateways: object = (),
    labels: object = (),
) -> Options:
    if not isinstance(hugepages, str):
        raise Invalid(f"hugepages must be auto, require or never, not {hugepages}")
    if not isinstance(idle_timeout, int | float) or isinstance(idle_timeout, bool):
        raise Invalid(f"{idle_timeout!r} is not a number of seconds")
    if not isinstance(poll_us, int) or isinstance(poll_us, bool):
        raise Invalid(f"{poll_us!r} is not a number of microseconds")
    if not isinstance(log_level, str):
        raise Invalid(f"{log_level!r} is not a log level")
    if not isinstance(names, bool) and names != "local":
        raise Invalid(f'names must be true, false or "local", not {names!r}')
    assert isinstance(names, bool | str)
    options = make_options(hugepages, idle_timeout, poll_us, log_level, names)
    networks = check_subnets(subnets)
    return replace(
        options,
        idle_timeout=float(idle_timeout),
        subnets=networks,
        gateways=check_gateways(gateways, networks),
        labels=check_pairs(labels, "labels", "a label"),
    )


# ---------------------------------------------------------------------------------------------- writing


def to_json(declared: Declared) -> Tree:
    """A tree of the file's form: options in full, of everything else what is not the default."""
    tree: Tree = {key: getattr(declared.options, key) for key in OPTION_KEYS if key not in NETWORK_OPTIONS}
    tree |= {key: list(words) for key in NETWORK_OPTIONS if (words := getattr(declared.options, key))}
    uplink = declared.uplink
    published = uplink.publish if uplink is not None else ()
    if uplink is not None:
        about = {**uplink.to_json()}
        about["publish"] = [str(each) for each in published if each.name not in declared.partitions]
        plain = UplinkSpec("").to_json()
        tree["uplink"] = {key: about[key] for key in UPLINK_KEYS if about[key] != plain[key] or key == "mode"}
    tree["partitions"] = {
        name: _partition_tree(spec, declared.empty, [each for each in published if each.name == name])
        for name, spec in declared.partitions.items()
    }
    return tree


def _partition_tree(spec: PartitionSpec, empty: frozenset[tuple[str, str]], published: list[Publish]) -> Tree:
    given = {**spec.to_json(), "publish": [_own_publish(each) for each in published]}
    for key in ("rate", "rate_in"):
        if given[key]:
            given[key] = rate_text(given[key])
    plain = {**PartitionSpec("").to_json(), "publish": []}
    return {
        key: given[key] for key in PARTITION_KEYS if given[key] != plain[key] or (spec.name, key) in empty
    }


def _own_publish(each: Publish) -> str:
    """A published port as its partition has it, without the name."""
    address, _, rest = str(each).rpartition(f"{each.port}:{each.name}:")
    return f"{address}{each.port}:{rest}"


def rate_text(rate: int) -> str:
    """Bits per second as the file and tc have them, exactly: 100mbit."""
    for unit, size in (("t", 10**12), ("g", 10**9), ("m", 10**6), ("k", 10**3)):
        if rate % size == 0:
            return f"{rate // size}{unit}bit"
    return f"{rate}bit"


def render(declared: Declared) -> str:
    """The TOML text that declares this fabric."""
    tree = to_json(declared)
    tables = {(): {key: tree[key] for key in OPTION_KEYS if key in tree}, ("uplink",): tree.get("uplink")}
    tables |= {("partitions", name): given for name, given in tree["partitions"].items()}
    parts = []
    for key, given in tables.items():
        if given is not None:
            header = [f"[{'.'.join(map(_bare, key))}]"] if key else []
            parts.append("\n".join([*header, *(f"{each} = {_toml(given[each])}" for each in given)]))
    return "\n\n".join(parts) + "\n"


def _bare(part: str) -> str:
    """A key, in quotes if it needs them."""
    return part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else json.dumps(part)


def _toml(value: object) -> str:
    """JSON has the form of TOML for what is printable, and nothing else passes the checks."""
    return json.dumps(value, ensure_ascii=False)
