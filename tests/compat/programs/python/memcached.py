"""memcached's text protocol: `memcached.py HOST PORT`; large and small values, many keys at once, counters."""

import socket
import sys

host, port = sys.argv[1:]
sock = socket.create_connection((host, int(port)), timeout=8)
stream = sock.makefile("rwb")


def ask(command: bytes) -> bytes:
    stream.write(command)
    stream.flush()
    return stream.readline()


def value_of(number: int) -> bytes:
    return (b"%d;" % number) * (1 + number * 401 % 100000)


def get(keys: list[int]) -> dict[int, bytes]:
    found = {}
    line = ask(b"get " + b" ".join(b"k%d" % key for key in keys) + b"\r\n")
    while line != b"END\r\n":
        _, key, _, size = line.split()
        found[int(key[1:])] = stream.read(int(size))
        stream.readline()
        line = stream.readline()
    return found


for number in range(200):
    value = value_of(number)
    assert ask(b"set k%d 0 0 %d\r\n%s\r\n" % (number, len(value), value)) == b"STORED\r\n", number
assert get(list(range(200))) == {number: value_of(number) for number in range(200)}
ask(b"set count 0 0 1\r\n0\r\n")
for _ in range(500):
    last = ask(b"incr count 7\r\n")
assert last == b"3500\r\n", last
print("all right")
