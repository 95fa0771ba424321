"""Programs with a connection on each side: HAProxy, stunnel, PHP-FPM behind nginx; and lighttpd and Puma."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.compat.case import Case, script
from tests.compat.families import web
from tests.compat.families.nginx import configured
from tests.compat.places import PROGRAMS
from tests.compat.program import Holder, Needs, Program
from tests.framework.fabric.partition import Argv
from tests.framework.traffic.streams import is_listening
from tests.framework.waiting import pace, wait_until

NGINX_NEEDS = (("nginx-light", "nginx"), ("apache2-utils", "ab"))


def filled(case: Case, name: str, **words: str) -> Path:
    """A configuration file from the matrix's, in the cell's folder."""
    host, port = case.where
    given = {"FOLDER": str(case.folder), "AT": case.at, "HOST": host, "PORT": port, **words}
    text = (PROGRAMS / "config" / name).read_text()
    for word, value in given.items():
        text = text.replace(f"@{word}@", value)
    return case.write(name, text)


def backend_port(case: Case) -> int:
    return case.port + 1


class HAProxy(Program):
    """From a client to a web server in the client's partition: both connections cross."""

    needs = Needs(debian=(("haproxy", "haproxy"), *NGINX_NEEDS))
    reloads = True

    def __init__(self, mode: str) -> None:
        self.name, self.mode = f"HAProxy {mode}", mode

    def version(self) -> str:
        return self.said("/usr/sbin/haproxy", "-v")

    @contextmanager
    def serve(self, case: Case) -> Iterator[None]:
        port = backend_port(case)
        behind = f"{case.client.ip}:{port}"
        config = filled(case, "haproxy.cfg", MODE=self.mode, BACKEND=behind)
        argv = ["/usr/sbin/haproxy", "-W", "-f", str(config), "-p", str(case.folder / "pid")]
        with (
            case.running(case.client, configured(case, "back", behind), port, "back"),
            case.running(case.server, argv),
        ):
            yield

    def check(self, case: Case) -> None:
        web.ask_file(case)
        web.ab(case, path="small")
        web.ab(case, "-k", path="small")

    def hold(self, case: Case) -> Holder:
        return web.hold(case)

    def reload(self, case: Case) -> None:
        with web.load(case):
            for _ in pace(1, 2):
                case.signal(signal.SIGUSR2, "pid")


class Stunnel(Program):
    """TLS for a web server in its own partition."""

    name = "stunnel"
    needs = Needs(debian=(("stunnel4", "stunnel"), *NGINX_NEEDS))

    def version(self) -> str:
        return self.said("stunnel", "-version", pattern=r"stunnel (\S+)")

    @contextmanager
    def serve(self, case: Case) -> Iterator[None]:
        port = backend_port(case)
        behind = f"127.0.0.1:{port}"
        key, certificate = case.folder / "key.pem", case.folder / "cert.pem"
        make = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=compat",
        ]
        subprocess.run(
            [*make, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True
        )
        config = filled(case, "stunnel.conf", BACKEND=behind)
        with (
            case.running(case.server, configured(case, "back", behind), port, "back"),
            case.running(case.server, ["stunnel", str(config)]),
        ):
            yield

    def check(self, case: Case) -> None:
        for _ in range(5):
            got = case.client.feed(["curl", "-sSk", "--fail", f"https://{case.at}/file"], b"")
            assert got == web.FILE, f"{len(got)} bytes are wrong"

    def hold(self, case: Case) -> Holder:
        return case.held(script("hold.py", *case.where, web.HELD_REQUEST, str(len(web.FILE)), "tls"))


class Lighttpd(Program):
    """Also with clients that shut their own direction: it asks TCP_INFO whether they have gone."""

    name = "lighttpd"
    needs = Needs(debian=(("lighttpd", "lighttpd"), ("apache2-utils", "ab")))

    def version(self) -> str:
        return self.said("/usr/sbin/lighttpd", "-v")

    @contextmanager
    def serve(self, case: Case) -> Iterator[None]:
        case.write("www/file", web.FILE)
        case.write("www/small", "small\n" * 20)
        config = filled(case, "lighttpd.conf")
        with case.running(case.server, ["/usr/sbin/lighttpd", "-D", "-f", str(config)]):
            yield

    def check(self, case: Case) -> None:
        web.ask_file(case)
        web.ab(case, path="small")
        done = case.client.run(
            script("half_close.py", *case.where, "20", "/file", str(len(web.FILE))), check=False
        )
        assert done.returncode == 0, f"half-closed: {done.stdout[-200:]}{done.stderr[-200:]}"

    def hold(self, case: Case) -> Holder:
        return web.hold(case)


class Puma(Program):
    """It asks TCP_INFO for the state of each connection that it has taken."""

    name = "Puma"
    needs = Needs(debian=(("puma", "puma"),))
    REQUESTS = 60

    def version(self) -> str:
        return self.said("puma", "--version")

    @contextmanager
    def serve(self, case: Case) -> Iterator[None]:
        case.write("file", web.FILE)
        words = ["puma", "-q", "-t", "2:4", "-b", f"tcp://{case.at}", str(PROGRAMS / "other/app.ru")]
        with case.running(case.server, [*case.env(COMPAT_FOLDER=case.folder), *words]):
            yield

    def check(self, case: Case) -> None:
        for kind in ("close", "keep"):
            web.ask(case, self.REQUESTS, kind, "echo")
        web.ask_file(case)

    def hold(self, case: Case) -> Holder:
        return web.hold(case)


class PhpFpm(Program):
    """nginx in the client's partition asks it by FastCGI over TCP, and keeps its connections."""

    name = "PHP-FPM behind nginx"
    needs = Needs(debian=(("php-fpm", "/usr/sbin/php-fpm*"), *NGINX_NEEDS))
    LOCATION = """location / {{
            fastcgi_pass php;
            fastcgi_keep_conn on;
            include /etc/nginx/fastcgi_params;
            fastcgi_param SCRIPT_FILENAME {folder}/echo.php;
        }}"""

    def _binary(self) -> str:
        return str(sorted(Path("/usr/sbin").glob("php-fpm*"))[-1])

    def version(self) -> str:
        return self.said(self._binary(), "-v")

    @contextmanager
    def serve(self, case: Case) -> Iterator[None]:
        case.write("file", web.FILE)
        case.write("echo.php", (PROGRAMS / "other/echo.php").read_text())
        argv = [self._binary(), "-n", "-R", "-y", str(filled(case, "php-fpm.conf"))]
        with case.running(case.server, argv):
            yield

    def _front(self, case: Case, name: str, kept: int) -> Argv:
        """An nginx that keeps so many connections to PHP-FPM when they are idle."""
        location = self.LOCATION.format(folder=case.folder)
        upstream = f"upstream php {{ server {case.at}; {f'keepalive {kept};' if kept else ''} }}"
        return configured(case, name, f"127.0.0.1:{backend_port(case)}", location, 1, upstream)

    def _ask(self, case: Case, count: int) -> None:
        words = ("127.0.0.1", str(backend_port(case)), str(count), "keep")
        for what in ("echo", f"{web.DIGEST}@/file"):
            done = case.client.run(script("ask_http.py", *words, what), check=False)
            assert done.returncode == 0, f"{done.stdout[-300:]}{done.stderr[-300:]}"

    def check(self, case: Case) -> None:
        for kept in (0, 2):
            with case.running(
                case.client, self._front(case, f"front{kept}", kept), backend_port(case), "front"
            ):
                self._ask(case, 60)

    def hold(self, case: Case) -> Holder:
        """The nginx itself is the client, and keeps a connection."""
        process = case.start(case.client, self._front(case, "holder", 2), "front")
        wait_until(lambda: is_listening(process.pid, backend_port(case)), 20, "nginx listens")
        self._ask(case, 4)
        return process


PROXIES = [HAProxy("tcp"), HAProxy("http"), Stunnel(), Lighttpd(), Puma(), PhpFpm()]
