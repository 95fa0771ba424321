"""Brokers of messages: Mosquitto, RabbitMQ, Celery on redis."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.compat.case import Case, python, script
from tests.compat.families.proxies import filled
from tests.compat.families.stores import Redis, redis_server
from tests.compat.places import PROGRAMS
from tests.compat.program import Holder, Needs, Program
from tests.framework.fabric.partition import Argv
from tests.framework.traffic.streams import is_listening
from tests.framework.waiting import wait_for_output, wait_until


class Mosquitto(Program):
    name = "Mosquitto"
    needs = Needs(debian=(("mosquitto", "mosquitto"), ("mosquitto-clients", "mosquitto_sub")))
    MESSAGES = 100

    def version(self) -> str:
        return self.said("/usr/sbin/mosquitto", "-h", pattern=r"mosquitto version (\S+)")

    @contextmanager
    def serve(self, case: Case) -> Iterator[None]:
        with case.running(
            case.server, ["/usr/sbin/mosquitto", "-v", "-c", str(filled(case, "mosquitto.conf"))]
        ):
            yield

    def _client(self, case: Case, name: str, *words: str) -> Argv:
        host, port = case.where
        return [f"mosquitto_{name}", "-h", host, "-p", port, "-q", "1", "-t", "compat", *words]

    def check(self, case: Case) -> None:
        count = str(self.MESSAGES)
        subscriber = self._subscriber(case, "-C", count, "-W", "15")
        messages = b"".join(
            b"message %d %s\n" % (number, b"x" * number * 10) for number in range(self.MESSAGES)
        )
        case.client.feed(self._client(case, "pub", "-l"), messages)
        got, _ = subscriber.communicate(timeout=20)
        lines = [line for line in got.splitlines(keepends=True) if line.startswith(b"message")]
        assert b"".join(lines) == messages, f"{len(lines)} of {self.MESSAGES} messages came, or wrong ones"

    def _subscriber(self, case: Case, *words: str) -> subprocess.Popen[bytes]:
        """It prints late, so the broker's log tells when it has subscribed."""
        log = case.folder / "server.log"
        before = log.read_text().count("Sending SUBACK")
        process = case.client.popen(
            self._client(case, "sub", *words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        wait_until(lambda: log.read_text().count("Sending SUBACK") > before, 15, "a client has subscribed")
        return process

    def hold(self, case: Case) -> Holder:
        return self._subscriber(case)


class RabbitMQ(Program):
    name = "RabbitMQ"
    needs = Needs(debian=(("rabbitmq-server", "rabbitmq-server"),), pip=("amqp",))
    limit = 150

    def version(self) -> str:
        return self.said("dpkg-query", "-W", "-f", "${Version}", "rabbitmq-server")

    @contextmanager
    def serve(self, case: Case) -> Iterator[None]:
        host, port = case.where
        config = case.write("rabbitmq.conf", f"listeners.tcp.1 = {host}:{port}\nloopback_users = none\n")
        variables = {
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(case.write("plugins", "[].\n")),
            "RABBITMQ_MNESIA_BASE": f"{case.folder}/mnesia",
            "RABBITMQ_LOG_BASE": f"{case.folder}/log",
            "RABBITMQ_NODENAME": "compat@localhost",
            "RABBITMQ_DIST_PORT": str(case.port + 1),
            "RABBITMQ_PID_FILE": f"{case.folder}/pid",
            "ERL_EPMD_PORT": str(case.port + 2),
        }
        argv = ["/usr/lib/rabbitmq/bin/rabbitmq-server"]
        process = case.start(case.server, [*case.env(**variables), *argv])

        def ready() -> bool:
            assert process.poll() is None, f"RabbitMQ ended with {process.returncode}: {case.said()}"
            return is_listening(process.pid, case.port)

        wait_until(ready, 90, "RabbitMQ listens")
        yield

    def check(self, case: Case) -> None:
        done = case.client.run(script("amqp_echo.py", "ask", *case.where), check=False)
        assert "all right" in done.stdout, f"{done.stdout[-100:]}{done.stderr[-300:]}"

    def hold(self, case: Case) -> Holder:
        return case.held(script("amqp_echo.py", "hold", *case.where))


class KombuFault(Exception):
    """Its transport asks a connection for its host that another thread has just taken away."""


class CeleryOnRedis(Program):
    """Worker and caller in the client's partition, redis in the server's; redis is killed and started between."""

    name = "Celery on redis"
    needs = Needs(debian=Redis.needs.debian, pip=("celery", "redis", "packaging"))
    limit = 120
    holds = False
    TASKS = 20
    ATTEMPTS = 6
    note = "kombu's worker ends with an AttributeError now and then, without the library as well: tried again then"

    def version(self) -> str:
        return self.said(*python("-c", "import celery; print(celery.__version__)"))

    @contextmanager
    def serve(self, case: Case) -> Iterator[None]:
        yield

    def check(self, case: Case) -> None:
        """Again where kombu has met its own fault, which it does without the library as well."""
        for _ in range(self.ATTEMPTS - 1):
            with suppress(KombuFault):
                return self._once(case)
            (case.folder / "server.log").write_text("")
        return self._once(case)

    def _once(self, case: Case) -> None:
        folder = str(PROGRAMS / "python")
        env = case.env(COMPAT_BROKER=f"redis://{case.at}/0", PYTHONPATH=folder)
        worker = ["-m", "celery", "-A", "celery_app", "worker", "-c", "2", "-l", "INFO", "--without-mingle"]
        with case.running(case.server, redis_server(case), name="redis"):
            process = case.start(case.client, [*env, *python(*worker)])
            self._wait_for_worker(case, process, 1)
            caller = case.held([*env, *script("celery_app.py", str(self.TASKS))], b"round 0 right")
        with case.running(case.server, redis_server(case), name="redis"):
            self._wait_for_worker(case, process, 2)
            assert caller.stdin and caller.stdout
            caller.stdin.write(b"\n")
            wait_for_output(caller.stdout, b"round 1 right", 30)

    def _wait_for_worker(self, case: Case, process: subprocess.Popen[bytes], times: int) -> None:
        log = case.folder / "server.log"

        def ready() -> bool:
            if process.poll() is not None and "no attribute 'hostname'" in log.read_text(errors="replace"):
                raise KombuFault
            assert process.poll() is None, f"the worker ended: {case.said()}"
            return log.read_text(errors="replace").count("Connected to redis") >= times

        wait_until(ready, 40, f"the worker is connected for the time {times}")


MESSAGING = [Mosquitto(), RabbitMQ(), CeleryOnRedis()]
