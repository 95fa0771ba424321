"""A connection pool over the death of its server: `pool.py requests|redis HOST PORT`.

It says "before" after its first calls, waits for a line while the server is killed and started again, and then its very
first call must succeed: a pool looks whether a connection has ended before it uses it.
"""

import sys
from collections.abc import Callable

kind, host, port = sys.argv[1:]


def of_requests() -> Callable[[int], object]:
    import requests

    session = requests.Session()

    def call(number: int) -> object:
        body = b"%d" % number * 1000
        answer = session.post(f"http://{host}:{port}/{number}", data=body, timeout=8)
        assert answer.content == body, f"request {number}: {len(answer.content)} bytes"
        return answer

    return call


def of_redis() -> Callable[[int], object]:
    import redis

    client = redis.Redis(host, int(port), socket_timeout=8, retry=None)

    def call(number: int) -> object:
        body = b"%d" % number * 1000
        client.set("key", body)
        assert client.get("key") == body, f"value {number}"
        return body

    return call


call = of_requests() if kind == "requests" else of_redis()
for number in range(20):
    call(number)
print("before", flush=True)
for round_ in range(3):
    sys.stdin.readline()
    for number in range(20):
        try:
            call(number)
        except Exception as error:
            print(f"WRONG: call {number} after restart {round_}: {type(error).__name__}: {error}", flush=True)
            sys.exit(1)
    print("after", flush=True)
