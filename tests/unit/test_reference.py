"""docs/reference names all counters, keys, methods, codes, variables and commands that there are, and no others."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
import tomllib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, get_args

import click
import pytest

from tests.framework import reference
from tests.framework.reference import named, part, rows, words
from vnicd import config
from vnicd.cli import errors as cli_errors
from vnicd.cli import main as cli_main
from vnicd.cli.app import vnicctl
from vnicd.cli.commands import exec as cli_exec
from vnicd.cli.commands import links as cli_links
from vnicd.cli.commands import stats as cli_stats
from vnicd.cli.commands import status as cli_status
from vnicd.cli.groups import Group
from vnicd.errors import BY_CODE
from vnicd.host import apply, health, main, status
from vnicd.host.broker.service import BrokerService
from vnicd.host.control.access import RULES
from vnicd.host.links.manager import State
from vnicd.host.ports.port import STOPPED, Port, PortState
from vnicd.host.uplink.controller import Uplink
from vnicd.native import counters
from vnicd.sockets import connections
from vnicd.spec import fabric_file, partition, uplink

ROOT = Path(__file__).parents[2]


def document(name: str) -> str:
    return (reference.FOLDER / name).read_text()


def differences(documented: Collection[str], there: Collection[str]) -> list[str]:
    """What one of the two lacks, and what is documented twice."""
    lacking = [f"{name} is not documented" for name in sorted(set(there) - set(documented))]
    invented = [f"{name} is documented, and not there" for name in sorted(set(documented) - set(there))]
    twice = [f"{name} is documented twice" for name in sorted(documented) if list(documented).count(name) > 1]
    return [*lacking, *invented, *dict.fromkeys(twice)]


# ------------------------------------------------------------------------------------------- from sources


def dict_keys(*functions: Callable[..., Any]) -> set[str]:
    """The keys that stand in the dict displays of these functions."""
    found: set[str] = set()
    for function in functions:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        displays = [node for node in ast.walk(tree) if isinstance(node, ast.Dict)]
        keys = [key for each in displays for key in each.keys]
        found |= {key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}
    return found


def python_variables(source: str) -> set[str]:
    """The variables that a Python source reads from os.environ, by their names or by constants of its own."""
    tree = ast.parse(source)
    constants = {
        target.id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=value, attr="get" | "pop"), args=[name, *_]):
                pass
            case ast.Subscript(value=value, slice=name, ctx=ast.Load()):
                pass
            case _:
                continue
        if ast.unparse(value) not in ("os.environ", "environment"):
            continue
        name = constants.get(name.id, name) if isinstance(name, ast.Name) else name
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            found.add(name.value)
        else:
            found.add(f"?{ast.unparse(name)}")
    return found


def sources(folder: str, *suffixes: str) -> Iterator[str]:
    for path in sorted((ROOT / folder).rglob("*")):
        if path.is_file() and (path.suffix in suffixes or not suffixes) and "__pycache__" not in path.parts:
            yield path.read_text()


def read_by_python(folder: str) -> set[str]:
    return {name for source in sources(folder, ".py") for name in python_variables(source)}


def read_by_library() -> set[str]:
    return {
        name
        for source in sources("cext/preload", ".c", ".h")
        for name in re.findall(r'"(VNICD_[A-Z_]+)"', source)
    }


def read_by_build() -> set[str]:
    """By setup.py; scripts and units set variables of others, and read none of their own."""
    return python_variables((ROOT / "setup.py").read_text())


def read_by_tests() -> set[str]:
    """Without those that tests set for their own programs, which have other names, or are vnicctl's."""
    found = {name for name in read_by_python("tests") if name.startswith("VNICD_")}
    return found - read_by_python("vnicd")


def set_by_scripts() -> set[str]:
    texts = [*sources("scripts"), *sources("systemd"), *sources(".ci")]
    return {name for text in texts for name in re.findall(r"\bVNICD_[A-Z_]+\b", text)}


# ----------------------------------------------------------------------------------------------- counters


@pytest.mark.parametrize(
    ("heading", "names"),
    [
        ("Counters of a port", counters.PORT_NAMES),
        ("Counters of a peer", counters.PEER_NAMES),
        ("Drop reasons", counters.DROP_NAMES),
    ],
)
def test_counters(heading: str, names: tuple[str, ...]) -> None:
    assert not differences(named(part(document("counters.md"), heading)), names)


def test_each_drop_reason_has_a_remedy() -> None:
    items = re.findall(
        r"^- `\w+` \(.*?(?=^- |\n\n)", part(document("counters.md"), "Drop reasons"), re.M | re.S
    )
    assert len(items) == len(counters.DROP_NAMES)
    assert all("What to do" in " ".join(item.split()) for item in items)


@pytest.mark.parametrize(
    ("heading", "header", "there"),
    [
        ("vnicctl stats", "column", cli_stats.HEADERS),
        ("vnicctl stats", "column of one port", ("COUNTER", "VALUE", "DROPPED FOR", "FRAMES")),
        ("vnicctl stats", "key", dict_keys(status.stats)),
        ("vnicctl links", "column", cli_links.HEADERS),
        ("vnicctl links", "key", dict_keys(status.links, status._pair, status._direction)),
        ("vnicctl links", "state", {"none", *(state.value for state in State)}),
        ("vnicctl status", "column", cli_status.PORT_HEADERS),
    ],
)
def test_columns_and_keys(heading: str, header: str, there: Collection[str]) -> None:
    assert not differences(named(part(document("counters.md"), heading), header=header), there)


def test_columns_of_one_port_are_those_that_are_shown() -> None:
    tree = ast.parse(inspect.getsource(cli_stats._show_one))
    shown = {
        each.value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "output.table"
        for each in ast.walk(call.args[0])
        if isinstance(each, ast.Constant)
    }
    assert shown == {"COUNTER", "VALUE", "DROPPED FOR", "FRAMES"}


def test_keys_of_status() -> None:
    text = part(document("counters.md"), "vnicctl status")
    of_fabric, of_port = named(text, header="key of `fabric`"), named(text, header="key of a port")
    assert not differences(of_port, dict_keys(Port.to_json))
    assert not differences(named(text, header="key"), {"fabric", "ports"})
    assert set(of_fabric) | set(of_port) | {"fabric", "ports"} == dict_keys(status.status, Port.to_json)
    assert len(set(of_fabric)) == len(of_fabric)
    lines = set(re.findall(r'\(\s*"(\w+)",', inspect.getsource(cli_status._show)))
    assert not differences(named(text, header="line"), lines)


def test_states_of_status() -> None:
    text = part(document("counters.md"), "vnicctl status")
    assert not differences(
        named(text, header="state of a port"), {STOPPED, *(state.value for state in PortState)}
    )
    getter = Uplink.__dict__["state"].fget
    told = set(re.findall(r'"([a-z-]+)"', inspect.getsource(getter)))
    assert not differences(named(text, header="state of the uplink"), told)


# ------------------------------------------------------------------------------------------- fabric-file


@pytest.mark.parametrize(
    ("heading", "keys"),
    [
        ("Options", fabric_file.OPTION_KEYS),
        ("The table uplink", fabric_file.UPLINK_KEYS),
        ("The tables partitions.NAME", fabric_file.PARTITION_KEYS),
    ],
)
def test_keys_of_the_fabric_file(heading: str, keys: tuple[str, ...]) -> None:
    text = part(document("fabric-file.md"), heading)
    assert not differences(named(text, header="key"), keys)
    assert set(words(text)) >= set(keys)


def test_the_example_of_a_fabric_file_is_one() -> None:
    blocks = re.findall(r"(?:^ {4}.*\n|^\n)+", document("fabric-file.md"), re.MULTILINE)
    example = next(textwrap.dedent(block) for block in blocks if "[uplink]" in block)
    assert fabric_file.parse(example, "example").is_something


def test_the_installed_file_has_every_key() -> None:
    text = (ROOT / "systemd/vnicd.toml").read_text()
    commented = "\n".join(line.removeprefix("# ") for line in text.splitlines()[1:])
    assert fabric_file.parse(commented, "vnicd.toml").is_something
    tree = tomllib.loads(commented.replace("## ", ""))
    assert {*tree} == {*fabric_file.OPTION_KEYS, "uplink", "partitions"}
    assert {*tree["uplink"]} == {*fabric_file.UPLINK_KEYS}
    assert {key for each in tree["partitions"].values() for key in each} == {*fabric_file.PARTITION_KEYS}


def test_defaults_and_limits_of_the_fabric_file() -> None:
    text = document("fabric-file.md")
    for value in (
        *get_args(config.HugepageMode),
        *get_args(uplink.Mode),
        *uplink.DEFAULT_SUBNETS,
        "vnic0",
    ):
        assert f'"{value}"' in text
    for number in (
        config.Options.idle_timeout,
        config.Options.poll_us,
        partition.MTU_MIN,
        partition.MTU_MAX,
        partition.MTU_MIN_IPV6,
        partition.MTU_DEFAULT,
        partition.MAX_ADDRESSES,
        uplink.MAX_PUBLISHED,
    ):
        assert re.search(rf"(?<![\d.]){re.escape(str(number))}(?![\d])", text), number
    for network in uplink.UNUSABLE:
        assert str(network) in text


def test_what_an_apply_does_with_each_key() -> None:
    cells = named(part(document("fabric-file.md"), "The tables partitions.NAME"), header="change")
    assert not differences(cells, fabric_file.PARTITION_KEYS)


# -------------------------------------------------------------------------------------- control-protocol


def parameters(method: str) -> set[str]:
    own = {
        "partition.add": main.SPEC_FIELDS,
        "partition.set": main.SET_FIELDS,
        "uplink.set": main.UPLINK_FIELDS,
    }
    return own[method] if method in own else set(RULES[method].params or ())


def test_methods() -> None:
    text = part(document("control-protocol.md"), "Methods")
    table = {words(row[0])[0]: row for row in rows(text, "method")}
    assert not differences(named(text, header="method"), RULES)
    assert {name: row[1] for name, row in table.items()} == {
        name: "root" if rule.change else "all" for name, rule in RULES.items()
    }
    assert {name: set(words(row[2])) for name, row in table.items()} == {
        name: parameters(name) for name in RULES
    }
    assert not differences(re.findall(r"^### (\S+)$", text, re.MULTILINE), RULES)


@pytest.mark.parametrize(
    ("heading", "header", "there"),
    [
        ("fabric.apply", "key", dict_keys(apply.Outcome.to_json) - {"code", "message", "hint"}),
        ("uplink.show", "key", {*main.UPLINK_FIELDS, *dict_keys(status.uplink), *status.UPLINK_COUNTERS}),
        ("sockets.list", "key of a connection", dict_keys(connections._connection)),
        ("sockets.list", "key of an end", dict_keys(connections._end)),
        ("sockets.list", "key of a process", dict_keys(connections.processes)),
    ],
)
def test_keys_of_results(heading: str, header: str, there: Collection[str]) -> None:
    assert not differences(named(part(document("control-protocol.md"), heading), header=header), there)


@pytest.mark.parametrize(
    ("heading", "there"),
    [
        ("fabric.ping", dict_keys(main.Host._ping)),
        ("fabric.check", dict_keys(main.Host._check, health.examine)),
        ("sockets.list", dict_keys(BrokerService.list)),
        ("partition.list", dict_keys(main.Host._list)),
        ("config.export", dict_keys(apply.Applier.export_method)),
        ("fabric.apply", dict_keys(apply.Applier.apply_method)),
    ],
)
def test_results_are_named(heading: str, there: set[str]) -> None:
    assert there
    assert there <= set(words(part(document("control-protocol.md"), heading)))


def test_errors_of_methods_are_codes() -> None:
    text = part(document("control-protocol.md"), "Methods")
    assert set(named(text, header="error")) <= set(BY_CODE)


# -------------------------------------------------------------------------------------------- exit-codes


def test_exit_codes() -> None:
    table = rows(document("exit-codes.md"), "code")
    names = {int(code): "".join(words(name)) for code, name, *_ in table}
    others = (
        cli_exec.FAILED,
        cli_exec.CANNOT_RUN,
        cli_exec.NOT_FOUND,
        cli_main.INTERRUPTED,
        cli_main.BROKEN_PIPE,
    )
    expected = dict.fromkeys((0, click.UsageError.exit_code, *others), "")
    expected[click.UsageError.exit_code] = cli_errors.USAGE
    expected |= {error.exit_code: code for code, error in BY_CODE.items()}
    assert names == expected
    assert len(names) == len(table)


def test_units_do_not_restart_after_the_documented_codes() -> None:
    unit = re.search(
        r"^RestartPreventExitStatus=(.*)$", (ROOT / "systemd/vnicd.service").read_text(), re.MULTILINE
    )
    assert unit
    first, second, last = unit[1].split()
    assert f"after {first}, {second} and {last}," in " ".join(document("exit-codes.md").split())


# ------------------------------------------------------------------------------------------- environment


@pytest.mark.parametrize(
    ("heading", "there"),
    [
        ("Of programs with the preload library", read_by_library()),
        ("Of vnicctl and vnicd", read_by_python("vnicd")),
        ("Of the build", read_by_build()),
        ("Of the tests", read_by_tests()),
    ],
)
def test_environment(heading: str, there: set[str]) -> None:
    assert there
    assert not differences(named(part(document("environment.md"), heading), header="variable"), there)


def test_scripts_and_units_set_documented_variables() -> None:
    assert set_by_scripts()
    assert set_by_scripts() <= set(named(document("environment.md"), header="variable"))


# ------------------------------------------------------------------------------------------------ vnicctl


def test_vnicctl() -> None:
    assert document("vnicctl.md") == reference.page(), f"run: {reference.COMMAND}"


def command_words() -> set[str]:
    """All commands as they are written, with the groups and the aliases."""
    found = set(vnicctl.short_forms) if isinstance(vnicctl, Group) else set()
    for command, context, aliases in reference.commands():
        path = context.command_path.split()[1:]
        found |= {" ".join(path[:n]) for n in range(1, len(path) + 1)}
        found |= {" ".join([*path[:-1], alias]) for alias in aliases}
        found |= {
            f"{' '.join(path)} {option}"
            for each in command.params
            for option in each.opts
            if option[:1] == "-"
        }
    return found


def unknown_commands(text: str, known: Collection[str]) -> list[str]:
    """Commands and options of vnicctl that a text names in code font, and that are none."""
    groups = {each.split()[0] for each in known if len(each.split()) == 2 and " -" not in each}
    found = []
    for code in words(text):
        head, *rest = [*code.split(" -- ")[0].split(), ""]
        rest = [word for word in rest if word]
        if head != "vnicctl" or not rest or rest[0].startswith("-"):
            continue
        length = 2 if rest[0] in groups and len(rest) > 1 else 1
        command = " ".join(rest[:length])
        if command not in known:
            found.append(command)
        options = [f"{command} {word}" for word in rest[length:] if word[:2] == "--" and word != "--help"]
        found += [option for option in options if option not in known]
    return found


def test_documents_name_commands_that_there_are() -> None:
    for path in sorted(reference.FOLDER.glob("*.md")):
        if path.name != "compatibility.md":
            assert not unknown_commands(path.read_text(), command_words()), path.name


def test_links_between_documents_lead_somewhere() -> None:
    for path in sorted(reference.FOLDER.glob("*.md")):
        for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
            if not re.match(r"https?:", target):
                assert not broken(path, target), f"{path.name}: {target}"


def broken(path: Path, target: str) -> bool:
    name, _, anchor = target.partition("#")
    file = (path.parent / name).resolve() if name else path
    if not file.exists():
        return True
    headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE) if anchor else []
    anchors = {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}
    return bool(anchor) and anchor not in anchors


# ------------------------------------------------------------------------------------ the checks themselves

SAMPLE = """\
# Things

## Of a kind

| thing | what |
|---|---|
| `a`, `b` | `not this` |

- `c` (here): more of `this`
  and `that`.
- **`d`**: a remark.

### Below

| key | what |
|---|---|
| `e` | |

## Of another

| thing | what |
|---|---|
| `f` | |
"""


def test_the_comparison_finds_what_it_looks_for() -> None:
    kind = part(SAMPLE, "Of a kind")
    assert named(kind) == ["a", "b", "c", "e"]
    assert named(kind, header="thing") == ["a", "b"]
    assert named(part(SAMPLE, "Of another")) == ["f"]
    assert not differences(named(kind, header="thing"), {"a", "b"})
    assert differences(["a", "b"], {"a", "b", "new"}) == ["new is not documented"]
    assert differences(["a", "gone"], {"a"}) == ["gone is documented, and not there"]
    assert differences(["a", "a"], {"a"}) == ["a is documented twice"]
    with pytest.raises(AssertionError, match="no heading"):
        part(SAMPLE, "Of none")


def test_variables_keys_and_commands_are_found() -> None:
    source = 'X = "VNICD_X"\nos.environ.get("A")\nos.environ[X]\nos.environ.pop(f())\nos.environ["B"] = "1"\n'
    assert python_variables(source) == {"A", "VNICD_X", "?f()"}
    assert dict_keys(sample_result) == {"a", "inner"}
    known = {"up", "up --poll-us", "partition", "partition add", "partition add --mtu"}
    assert not unknown_commands(
        "`vnicctl up --poll-us 5`, `vnicctl partition add x --mtu 9000`, `ip link`", known
    )
    assert unknown_commands("`vnicctl upp`", known) == ["upp"]
    assert unknown_commands("`vnicctl up --pol`", known) == ["up --pol"]
    assert unknown_commands("`vnicctl partition drop`", known) == ["partition drop"]
    assert broken(reference.PAGE, "none.md")
    assert broken(reference.PAGE, "exit-codes.md#none")
    assert not broken(reference.PAGE, "exit-codes.md#vnicctl")


def sample_result() -> dict[str, Any]:
    return {"a": [{"inner": 1}], **{str(1): 2}}
