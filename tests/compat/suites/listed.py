"""The upstream suites, and the command that runs each."""

from __future__ import annotations

from tests.compat.suites.debian import PERL, RUBY
from tests.compat.suites.suite import COLLECT, TEST_TIMEOUT_S, Suite, cpython, python


def _pytest(*words: str) -> tuple[str, ...]:
    options = (
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:asyncio",
        "-p",
        "no:aiohttp",
        "-o",
        "filterwarnings=",
        f"--timeout={TEST_TIMEOUT_S}",
        "--junitxml=@REPORT@",
    )
    report = (f"--timeout={TEST_TIMEOUT_S}", "--junitxml=@REPORT@")
    return (python(), "-m", "pytest", *options, *report, *words)


TWISTED = (
    *("internet.test.test_tcp", "internet.test.test_endpoints", "internet.test.test_unix", "test.test_tcp"),
    *("internet.test.test_fdset", "internet.test.test_tls", "test.test_ssl", "test.test_internet"),
    *("web.test.test_http", "web.test.test_newclient", "web.test.test_agent", "web.test.test_webclient"),
    *("protocols.test.test_tls", "test.test_ftp", "spread.test.test_pb", "internet.test.test_process"),
)
TRIO = ("socket", "highlevel_socket", "highlevel_open_tcp_stream", "highlevel_open_tcp_listeners", "ssl")
CPYTHON = (
    "test_socket",
    "test_asyncio",
    "test_ssl",
    "test_select",
    "test_poll",
    "test_epoll",
    "test_httplib",
)

SUITES = [
    Suite(
        "Twisted",
        "twisted",
        ("pyopenssl", "service-identity", "idna"),
        (python(), str(COLLECT), "@REPORT@", *(f"twisted.{name}" for name in TWISTED)),
    ),
    Suite(
        "tornado", "tornado", (), (python(), str(COLLECT), "@REPORT@", "tornado.test.runtests:TEST_MODULES")
    ),
    Suite(
        "trio",
        "trio",
        ("trustme", "pyopenssl"),
        _pytest(
            "-p", "trio._tests.pytest_plugin", "--pyargs", *(f"trio._tests.test_{name}" for name in TRIO)
        ),
    ),
    Suite(
        "anyio",
        "anyio",
        (
            "trio",
            "trustme",
            "psutil",
            "pytest-mock",
            "hypothesis",
            "uvloop",
            "truststore",
            "blockbuster",
            "coverage",
        ),
        _pytest("tests/test_sockets.py", "tests/streams/test_tls.py", "-m", "not network"),
        sdist=True,
    ),
    Suite(
        "aiohttp",
        "aiohttp",
        (
            *(
                "pytest-aiohttp",
                "pytest-mock",
                "freezegun",
                "re-assert",
                "time-machine",
                "proxy.py",
                "blockbuster",
            ),
            *(
                "isal",
                "zlib-ng",
                "trustme",
                "pytest-codspeed",
                "python-on-whales",
                "pytest-cov",
                "pytest-xdist",
            ),
            *("brotli", "gunicorn", "uvloop", "aiodns"),
        ),
        _pytest(
            *("-o", "addopts=", "-n", "0", "--import-mode=importlib"),
            *(
                f"tests/test_{name}.py"
                for name in ("client_functional", "web_functional", "web_server", "connector")
            ),
            *(
                f"tests/test_{name}.py"
                for name in ("web_sendfile_functional", "web_websocket_functional", "run_app")
            ),
        ),
        sdist=True,
    ),
    Suite(
        "uvloop",
        "uvloop",
        ("psutil", "pyopenssl", "aiohttp"),
        (python(), str(COLLECT), "@REPORT@", "./tests"),
        sdist=True,
    ),
    Suite(
        "CPython",
        "",
        (),
        (cpython(), "-m", "test", "-u", "network", "--junit-xml=@REPORT@", "-i", "*VSOCK*", *CPYTHON),
        limit=500,
    ),
    PERL,
    RUBY,
]
