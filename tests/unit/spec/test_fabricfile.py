"""The file that declares a fabric: what it means, that it can be written and read again, and where a mistake is."""

from __future__ import annotations

import json
import time
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.framework.declared import fabrics
from vnicd.config import Options
from vnicd.errors import Invalid, NotFound, VnicdError
from vnicd.spec.fabric_file import Declared, from_json, load, parse, rate_text, render, to_json
from vnicd.spec.partition import check_rate, make_partition
from vnicd.spec.toml_lines import line_of
from vnicd.spec.uplink import make_uplink

FULL = """\
hugepages = "never"
idle_timeout = 30
poll_us = 50
names = "local"

[uplink]
nic = "eth1"
mode = "nat"
subnets = ["10.9.0.0/24"]
publish = ["2222:later:22"]
propagate_link = true

[partitions.web]
addresses = ["10.9.0.5/24", "10.9.0.6/24"]
gateways = ["10.9.0.1"]
rate = "100mbit"
mac = "02-00-00-00-00-07"
mtu = 1400
ifname = "eth0"
publish = ["8080:80", "10.0.0.2:53:53/udp", "[2001:DB8::2]:81:81/tcp"]

[partitions."a.b"]
netns = "box"
rate = 2_500_000
"""


def test_all_there_is() -> None:
    declared = parse(FULL, "full.toml")
    publish = ("2222:later:22", "10.0.0.2:53:web:53/udp", "[2001:db8::2]:81:web:81", "8080:web:80")
    assert declared == Declared(
        Options("never", 30.0, 50, names="local"),
        make_uplink("eth1", "nat", ["10.9.0.1/24"], publish, True),
        {
            "web": make_partition(
                "web",
                ["10.9.0.5/24", "10.9.0.6/24"],
                "02:00:00:00:00:07",
                1400,
                "eth0",
                None,
                ["10.9.0.1"],
                "100mbit",
            ),
            "a.b": make_partition("a.b", netns="/run/netns/box", rate=2_500_000),
        },
    )
    assert parse(FULL.replace("\n", "\r\n"), "dos.toml") == declared


def test_nothing_is_a_fabric_too() -> None:
    assert parse("", "empty.toml") == parse("[partitions]\n", "none.toml") == Declared()


def test_one_table_may_be_written_in_many_ways() -> None:
    plain = parse('[partitions.web]\naddresses = ["10.9.0.5/24"]\nmtu = 1400\n', "a")
    for text in (
        'partitions.web.addresses = ["10.9.0.5/24"]\npartitions.web.mtu = 1400',
        "partitions = {web = {mtu = 1400, addresses = ['10.9.0.5/24']}}",
        '[partitions]\n"web".mtu = 1400\n\'web\'.addresses = [ # why\n"10.9.0.5/24",\n]',
    ):
        assert parse(text, "b") == plain


def test_an_empty_list_is_not_the_same_as_none() -> None:
    bare = parse("[partitions.web]\naddresses = []\n[partitions.db]\ngateways = []\n", "a")
    assert bare.empty == {("web", "addresses"), ("db", "gateways")}
    assert parse("[partitions.web]\n", "b").empty == frozenset()


@given(fabrics())
def test_what_is_written_reads_as_it_was(declared: Declared) -> None:
    text = render(declared)
    assert parse(text, "x") == declared
    assert from_json(json.loads(json.dumps(to_json(declared)))) == declared
    assert {"partitions": {}, **tomllib.loads(text)} == to_json(declared)


@given(st.integers(10**5, 10**12))
def test_rates_are_written_exactly(rate: int) -> None:
    assert check_rate(rate_text(rate)) == rate


def test_rates_are_written_as_people_do() -> None:
    assert [rate_text(rate) for rate in (10**8, 15 * 10**8, 10**9, 123_456)] == [
        "100mbit",
        "1500mbit",
        "1gbit",
        "123456bit",
    ]


NAT = '[uplink]\nnic = "eth1"\nmode = "nat"\n'

WRONG = [
    # text, line, key, part of what is said
    ('\nhugepages = "some"', 2, "hugepages", "auto, require or never"),
    ("hugepages = 1", 1, "hugepages", "auto, require or never"),
    ("poll_us = 5\nidle_timeout = 0", 2, "idle_timeout", "0.1 to 86400"),
    ("idle_timeout = nan", 1, "idle_timeout", "0.1 to 86400"),
    ('idle_timeout = "1"', 1, "idle_timeout", "not a number"),
    ("poll_us = true", 1, "poll_us", "not a number"),
    ("poll_us = 1979-05-27", 1, "poll_us", "not a number"),
    ("# no\n\npoll = 5", 3, "poll", "did you mean poll_us?"),
    ("names = 1", 1, "names", "true, false or"),
    ('names = "on"', 1, "names", "true, false or"),
    ("qqq = 5", 1, "qqq", "there are hugepages"),
    ("uplink = 1", 1, "uplink", "must be a table"),
    ("[[uplink]]\nnic = 'e'", 1, "uplink", "must be a table"),
    ("\n[uplink]\nmode = 'nat'", 2, "uplink", "there is no nic"),
    ("[uplink]\nnic = 'lo'", 2, "uplink.nic", "loopback"),
    ("[uplink]\nmode = 'net'\nnic = 'e'", 2, "uplink.mode", "bridge, shared, nat or none"),
    ("[uplink]\nmode = 'none'\nnic = 'e'", 3, "uplink.nic", "leave it out"),
    ("\n[uplink]\nmode = 'none'", 2, "uplink", "10.77.0.254/24"),
    ("[uplink]\nmode = 'none'\naddresses = ['10.77.0.1/24',\n'10.77.0.0/24']", 4, "uplink.addresses", "10.77.0.0/24"),
    ("[uplink]\nnic = 'e'\naddresses = ['10.77.0.1/24']", 3, "uplink.addresses", 'mode = "none"'),
    ("[uplink]\nnic = 'e'\nmod = 'nat'", 3, "uplink.mod", "did you mean mode?"),
    ("[uplink]\nnic = 'e'\nsubnets = ['10.9.0.0/24']", 3, "uplink.subnets", "nat mode"),
    (NAT + "subnets = ['10.9.0.0/24',\n'10.8.0.0/24']", 5, "uplink.subnets", "one IPv4 and one IPv6"),
    (NAT + "publish = ['80:web:80', 'web:80']", 4, "uplink.publish", "'web:80'"),
    (NAT + "publish = '80:web:80'", 4, "uplink.publish", "must be a list"),
    (NAT + "propagate_link = 1", 4, "uplink.propagate_link", "true or false"),
    (NAT + "[partitions.w]\npublish = ['80:80']\n[partitions.v]\npublish = [\n'81:81',\n'80:1']", 9,
     "partitions.v.publish", "published twice"),
    (NAT + "[partitions.w]\npublish = ['80:v:80']", 5, "partitions.w.publish", "HOST PORT:PARTITION PORT"),
    (NAT + "[partitions.w]\npublish = ['8080']", 5, "partitions.w.publish", "HOST PORT:PARTITION PORT"),
    (NAT + "[partitions.w]\npublish = [80]", 5, "partitions.w.publish", "HOST PORT:PARTITION PORT"),
    (NAT + "[partitions.w]\npublish = '80:80'", 5, "partitions.w.publish", "must be a list"),
    (NAT + "[partitions.w]\npublish = ['0:80']", 5, "partitions.w.publish", "not a port number"),
    ("[partitions.w]\npublish = ['80:80']", 2, "partitions.w.publish", "needs an uplink in nat mode"),
    ("partitions = []", 1, "partitions", "must be a table"),
    ("[partitions]\nweb = 1", 2, "partitions.web", "must be a table"),
    ("[partitions.web]\n\nadresses = []", 3, "partitions.web.adresses", "did you mean addresses?"),
    ("[partitions.host]", 1, "partitions.host", "reserved"),
    ("[partitions.'a b']", 1, 'partitions."a b"', "not a partition name"),
    ('[partitions."a.b"]\nmtu = 1', 2, 'partitions."a.b".mtu', "576 to 65000"),
    ("[partitions.w]\naddresses = [\n '10.0.0.1/24',\n '10.0.0.300/24'\n]", 4, "partitions.w.addresses",
     "10.0.0.300"),
    ("[partitions.w]\naddresses = [\n '10.0.0.1/24',\n '10.0.0.1/16'\n]", 4, "partitions.w.addresses",
     "twice"),
    ("[partitions.w]\naddresses = '10.0.0.1/24'", 2, "partitions.w.addresses", "must be a list"),
    ("[partitions.w]\nmtu = 600\naddresses = ['fd00::1/64']", 2, "partitions.w.mtu", "1280"),
    ("[partitions.w]\ngateways = ['10.0.0.1']", 2, "partitions.w.gateways", "in no subnet"),
    ("[partitions.w]\nrate = 'fast'", 2, "partitions.w.rate", "100mbit"),
    ("[partitions.w]\nrate = 1.5", 2, "partitions.w.rate", "not a rate"),
    ("[partitions.w]\nmac = '01:00:00:00:00:01'", 2, "partitions.w.mac", "single station"),
    ("[partitions.w]\nifname = 'lo'", 2, "partitions.w.ifname", "not an interface name"),
    ("[partitions.w]\nnetns = 'a/b'", 2, "partitions.w.netns", "not absolute"),
    ("[partitions.v]\naddresses=['10.0.0.1/24']\n[partitions.w]\naddresses=['10.0.0.2/8',\n'10.0.0.1/8']", 5,
     "partitions.w.addresses", "10.0.0.1 is already that of partition v"),
    ("[partitions.v]\nmac='02:00:00:00:00:01'\n[partitions.w]\nmac='02-00-00-00-00-01'", 4,
     "partitions.w.mac", "already that of partition v"),
    ("[partitions.v]\nnetns='box'\n[partitions.w]\nnetns='box'", 4, "partitions.w.netns", "vnic0"),
    ("partitions.w = {mtu = 1}", 1, "partitions.w.mtu", "576 to 65000"),
    ("partitions.v.mtu = 1500\npartitions.w.mtu = 1", 2, "partitions.w.mtu", "576 to 65000"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "key", "says"), WRONG, ids=[text for text, *_ in WRONG])
def test_a_mistake_is_told_with_its_place(text: str, line: int, key: str, says: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse(text, "lab.toml")
    told = caught.value.line()
    assert told.startswith(f"lab.toml:{line}: {key}: ")
    assert says in told
    assert "--" not in told, "a word of the command line"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = ", 1),
        ("\n\nx", 3),
        ("[partitions.w]\nmtu = 1\nmtu = 2", 3),
        ("[uplink]\n[uplink]\n", 2),
        ("x = [\n1,\n2\n", 3),
    ],
)
def test_what_is_not_toml(text: str, line: int) -> None:
    with pytest.raises(Invalid) as caught:
        parse(text, "lab.toml")
    assert caught.value.line().startswith(f"lab.toml:{line}: not TOML: ")


def test_what_is_nested_too_deeply() -> None:
    with pytest.raises(Invalid, match=r"lab\.toml: .*too deeply"):
        parse("x = " + "[" * 100_000, "lab.toml")


def test_files_that_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no file .*lab\.toml"):
        load(tmp_path / "lab.toml")
    for path in (tmp_path, Path("/dev/zero")):
        with pytest.raises(Invalid, match=f"{path} is not a regular file"):
            load(path)
    with pytest.raises(VnicdError, match="can't be read"):
        load(tmp_path, streams=True)
    (tmp_path / "latin").write_bytes(b"# ok\n# \xff\n")
    with pytest.raises(Invalid, match=r"latin:2: this is not UTF-8"):
        load(tmp_path / "latin")
    with pytest.raises(Invalid, match="larger than 1 MiB"):
        load(Path("/dev/zero"), streams=True)
    (tmp_path / "good").write_text(FULL)
    assert load(tmp_path / "good") == parse(FULL, "")


TRICKY = '''\
# [no.header] = 1
a = "#[x]\\"" # b = 2
"b.c"."d" = """
e = 1
[f]
\\"""g"""""
h = \'\'\'
i = 2\'\'\'\'
[ j . 'k l' ]
m = {n = [1, {o = "}"}], p = ']'}
q = [ # r = 3
  "s", [
    'u'], # ]
]
[[v]]
w = 1979-05-27T07:32:00Z
[[v]]
w = -1.5e3
'''

PLACES = {
    ("a",): 2, ("b.c",): 3, ("b.c", "d"): 3, ("h",): 7, ("j",): 9, ("j", "k l"): 9,
    ("j", "k l", "m", "n", 1, "o"): 10, ("j", "k l", "m", "p"): 10, ("j", "k l", "q"): 11,
    ("j", "k l", "q", 0): 12, ("j", "k l", "q", 1, 0): 13, ("v",): 15, ("v", 0, "w"): 16, ("v", 1, "w"): 18,
    ("e",): 1, ("f",): 1, ("j", "k l", "t"): 9,
}  # fmt: skip


def test_keys_are_found_in_any_form_of_toml() -> None:
    """The last line of PLACES are keys that there are not."""
    assert tomllib.loads(TRICKY)
    assert {key: line_of(TRICKY, key) for key in PLACES} == PLACES


HUGE = "0x" + "f" * 6000
"""Python can't write it in digits."""

EXCESSES = {
    f"idle_timeout = 1{'0' * 400}": "idle_timeout: this number is too large",
    f"poll_us = {HUGE}": "poll_us: this number is too large",
    f"[partitions.a]\nmtu = {HUGE}": "partitions.a.mtu: this number is too large",
    f"[partitions.a]\naddresses = ['10.0.0.1/8', {HUGE}]": "partitions.a.addresses: this number is too large",
    f"hugepages = {'[' * 400}{']' * 400}": "hugepages: this is nested too deeply",
    f"{'.'.join('a' * 3000)} = 1": "a.a.a.a.a.a: this is nested too deeply",
    "\n".join(f"[partitions.p{n}]" for n in range(50_000)): "partitions.p256: there can be 256 of these",
    "\n".join(f"k{n} = 1" for n in range(70_000)): "k256: there can be 256 of these",
    f"[partitions.a]\npublish = [{'1,' * 300_000}]": "partitions.a.publish: there can be 256 of these",
    "".join(f"[partitions.p{n}]\npublish = ['{n}:1', '{n + 500}:2']\n" for n in range(200))
    + "[uplink]\nnic = 'e'": ("partitions.p128.publish: at most 256 ports can be published"),
}


@pytest.mark.parametrize("text", EXCESSES, ids=EXCESSES.values())
def test_too_much_is_told_at_once(text: str) -> None:
    """Within a second or two of computing; when all is looked at again for each key, it takes minutes."""
    begin = time.process_time()
    with pytest.raises(Invalid, match=rf"f:\d+: {EXCESSES[text]}"):
        parse(text, "f")
    assert time.process_time() - begin < 40  # a sanitizer makes it take 13 s


def test_a_number_that_python_can_not_read_is_on_its_line() -> None:
    with pytest.raises(Invalid, match=r"^f:3: this number is too large$"):
        parse(f"poll_us = 1\n\nidle_timeout = {'9' * 4301}", "f")


def test_a_client_cannot_keep_the_daemon_busy() -> None:
    for table in ({"addresses": ["10.0.0.1/8"] * 60_000}, {"publish": ["80:80"] * 60_000}):
        begin = time.process_time()
        with pytest.raises(Invalid, match=r"partitions.a.*: there can be 256"):
            from_json({"partitions": {"a": table}})
        assert time.process_time() - begin < 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [*to_json(parse(FULL, "")), *to_json(parse(FULL, ""))["partitions"]["web"], "nic", "mode"]
)


@given(
    JSON
    | st.dictionaries(KEYS, JSON | st.dictionaries(KEYS | st.just("web"), JSON | st.dictionaries(KEYS, JSON)))
)
def test_no_tree_does_any_harm(tree: object) -> None:
    """It is a fabric or Invalid, whatever a client sends."""
    try:
        declared = from_json(tree)
    except Invalid:
        return
    assert from_json(to_json(declared)) == declared
