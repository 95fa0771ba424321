"""Asks an HTTP server: `ask_http.py HOST PORT COUNT keep|close WHAT`; WHAT is echo, or SHA256@PATH of a file."""

import hashlib
import http.client
import sys
import threading

host, port, count, kind, what = sys.argv[1:]
AT_ONCE = 4
TIMEOUT_S = 8
wrong = []
right = 0
lock = threading.Lock()
numbers = iter(range(int(count)))


def body_of(number):
    seed = b"%d;" % number
    return (seed * 40000)[: 1 + number * 977 % 40000]


def ask(connection, number):
    headers = {"Connection": "close"} if kind == "close" else {}
    if what == "echo":
        connection.request("POST", f"/echo/{number}", body_of(number), headers)
    else:
        connection.request("GET", what.split("@", 1)[1], headers=headers)
    response = connection.getresponse()
    got = response.read()
    assert response.status == 200, f"status {response.status}: {got[:80]}"
    if what == "echo":
        assert got == body_of(number), f"{len(got)} bytes are wrong"
    else:
        assert hashlib.sha256(got).hexdigest() == what.split("@", 1)[0], (
            f"{len(got)} bytes of the file are wrong"
        )


def work():
    global right
    connection = None
    while True:
        with lock:
            number = next(numbers, None)
        if number is None or len(wrong) > 20:
            return
        if connection is None or kind == "close":
            connection = http.client.HTTPConnection(host, int(port), timeout=TIMEOUT_S)
        try:
            ask(connection, number)
            with lock:
                right += 1
        except Exception as error:
            wrong.append(f"{type(error).__name__}: {error}")
            connection.close()
            connection = None
        if kind == "close" and connection:
            connection.close()


threads = [threading.Thread(target=work) for _ in range(AT_ONCE)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(f"{right} of {count} right" + (f"; first wrong: {wrong[0]}" if wrong else ""))
sys.exit(bool(wrong) or right != int(count))
