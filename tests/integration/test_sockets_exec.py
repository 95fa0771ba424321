"""Direct connections that another image of the program, or another process, goes on with; stdio, sendfile and splice.

Each test is a program of its own under the provider (and once without it, for what TCP does): it has both ends of a
connection over loopback, and gives one of them away.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import broker
from tests.support.direct import LIBRARY, preloading
from tests.support.waiting import wait_until

Run = Callable[..., str]

PRELUDE = """
import ctypes, os, socket, subprocess, sys, tempfile, threading
direct = bool(os.environ.get("LD_PRELOAD"))
listener = socket.create_server(("127.0.0.1", 0))

def pair():
    client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
    client.settimeout(60)
    server.settimeout(60)
    client.sendall(b"1")
    assert server.recv(1) == b"1"
    server.sendall(b"2")
    assert client.recv(1) == b"2"
    server.setblocking(True)
    maps = open("/proc/self/maps").read()
    assert ("vnicd-half" in maps) == direct, "the connection is not as it should be"
    return client, server

def receive(sock, count=None):
    got = bytearray()
    while count is None or len(got) < count:
        piece = sock.recv(65536)
        if not piece:
            break
        got += piece
    return bytes(got)

def echoed(sock, count=2_000_000):
    data = os.urandom(count)
    def send():
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
    sender = threading.Thread(target=send)
    sender.start()
    assert receive(sock) == data
    sender.join()

client, server = pair()
number = server.fileno()
os.set_inheritable(number, True)
ECHO = '''
import socket, sys
sock = socket.socket(fileno=int(sys.argv[1]))
assert sock.getpeername() == ("127.0.0.1", int(sys.argv[2])), sock.getpeername()
while data := sock.recv(65536):
    sock.sendall(data)
'''
echo = [sys.executable, "-c", ECHO, str(number), str(client.getsockname()[1])]
"""
"""What each program begins with: a connection, and a program that echoes what comes by an inherited descriptor."""


def relays() -> list[int]:
    """The relay processes that live."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
        except OSError:
            continue
        if text.startswith("Name:\tvnicd-relay\n") and "State:\tZ" not in text:
            found.append(int(status.parent.name))
    return found


@pytest.fixture(scope="module")
def broker_name() -> Iterator[str]:
    if not LIBRARY.exists():
        pytest.skip(f"no {LIBRARY}: run scripts/setup")
    name = f"vnicd-test-exec-{os.getpid()}"
    process = broker.start(name)
    yield name
    process.terminate()
    process.wait(10)


@pytest.fixture(params=[True, False], ids=["direct", "plain"])
def run(request: pytest.FixtureRequest, broker_name: str) -> Iterator[Run]:
    """Runs a program that begins with PRELUDE; it must succeed and leave no relay behind."""
    before = set(relays())

    def run_program(body: str) -> str:
        argv = preloading([sys.executable, "-c", PRELUDE + body], request.param, VNICD_BROKER=broker_name,
                          VNICD_LOOPBACK=1)  # fmt: skip
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    yield run_program
    wait_until(lambda: not set(relays()) - before, 10, "the relays have ended")


def test_fork_and_exec(run: Run) -> None:
    """As sshd and inetd do it: the connection under other numbers, and then another image."""
    run("""
if os.fork() == 0:
    client.close()
    os.dup2(number, 0)
    os.dup2(number, 1)
    server.close()
    os.execvp("cat", ["cat"])
server.close()
echoed(client)
assert os.wait()[1] == 0
""")


def test_exec_keeps_names(run: Run) -> None:
    """The next image is told TCP's addresses if it has the provider."""
    run("""
if os.fork() == 0:
    client.close()
    os.execv(echo[0], echo)
server.close()
echoed(client)
assert os.wait()[1] == 0
""")


def test_exec_that_fails(run: Run) -> None:
    run("""
names = server.getsockname(), server.getpeername()
try:
    os.execv("/no/such/program", ["program"])
except FileNotFoundError:
    pass
assert (server.getsockname(), server.getpeername()) == names
server.sendall(b"still here")
assert receive(client, 10) == b"still here"
client.sendall(b"me too")
assert receive(server, 6) == b"me too"
server.close()
assert client.recv(1) == b""
""")


@pytest.mark.parametrize("how", ["stdin=server, stdout=server", "pass_fds=[number]", "close_fds=False"])
def test_subprocess(run: Run, how: str) -> None:
    """Python's subprocess makes its child by vfork: it shares the program's memory until the exec."""
    numbers = ("0", "0") if "stdin" in how else ("{number}", "{number}")
    run(f"""
child = subprocess.Popen(["sh", "-c", f"exec cat <&{numbers[0]} >&{"1" if "stdin" in how else numbers[1]}"], {how})
server.close()
echoed(client)
assert child.wait() == 0
""")


@pytest.mark.parametrize(
    "actions", ["(os.POSIX_SPAWN_DUP2, number, 0), (os.POSIX_SPAWN_DUP2, number, 1)", ""]
)
def test_posix_spawn(run: Run, actions: str) -> None:
    run(f"""
actions = [{actions}]
argv = ["cat"] if actions else ["sh", "-c", f"exec cat <&{{number}} >&{{number}}"]
child = os.posix_spawnp(argv[0], argv, os.environ, file_actions=actions)
server.close()
echoed(client)
assert os.waitpid(child, 0)[1] == 0
""")


def test_child_that_only_writes(run: Run) -> None:
    run("""
subprocess.run(["echo", "hello"], stdout=server, check=True)
server.close()
assert receive(client) == b"hello\\n"
""")


def test_child_that_does_not_care(run: Run) -> None:
    """A child that merely inherited the connection takes nothing from its parent, and ends nothing."""
    run("""
child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=[number])
for size in range(1, 20_000, 97):
    data = os.urandom(size)
    client.sendall(data)
    assert receive(server, size) == data
    server.sendall(data)
    assert receive(client, size) == data
child.communicate(b"")
client.sendall(b"more")
assert receive(server, 4) == b"more"
server.close()
assert client.recv(1) == b""
""")


def test_relay_holds_nothing_else(run: Run) -> None:
    """A pipe of the program ends with the program, though a relay goes on."""
    run("""
reading, writing = os.pipe()
child = subprocess.Popen(["sleep", "60"], pass_fds=[number, writing])
os.close(writing)
server.close()
child.kill()
child.wait()
assert os.read(reading, 1) == b""
assert client.recv(1) == b""
""")


@pytest.mark.parametrize("provider", [True, False], ids=["with", "without"])
def test_passed_to_another_process(run: Run, provider: bool) -> None:
    run(f"""
PROGRAM = '''
import os, socket, sys
_, numbers, _, _ = socket.recv_fds(socket.socket(fileno=0), 1, 1)
if {provider}:
    assert socket.socket(fileno=os.dup(numbers[0])).getpeername()[1] == int(sys.argv[1])
while data := os.read(numbers[0], 65536):
    while data:
        data = data[os.write(numbers[0], data):]
'''
here, there = socket.socketpair()
environment = dict(os.environ)
if not {provider}:
    environment.pop("LD_PRELOAD", None)
argv = [sys.executable, "-c", PROGRAM, str(client.getsockname()[1])]
child = subprocess.Popen(argv, stdin=there, env=environment)
socket.send_fds(here, [b"x"], [number])
server.close()
echoed(client)
assert child.wait() == 0
""")


STDIO = """
libc = ctypes.CDLL(None, use_errno=True)
line = ctypes.create_string_buffer(100)
libc.fdopen.restype = libc.fgets.restype = ctypes.c_void_p

def open_stream(sock, mode):
    stream = ctypes.c_void_p(libc.fdopen(sock.fileno(), mode))
    assert libc.fileno(stream) == sock.fileno()
    return stream
"""


def test_stdio(run: Run) -> None:
    """Reading and writing in turns by one FILE, and dprintf; fclose ends the connection."""
    run(f"""{STDIO}
stream = open_stream(server, b"r+")
for turn in range(3):
    libc.fprintf(stream, b"hello %d\\n", turn)
    assert libc.fflush(stream) == 0
    assert receive(client, 8) == b"hello %d\\n" % turn
    client.sendall(b"one\\ntwo\\n")
    for word in (b"one\\n", b"two\\n"):
        assert libc.fgets(line, 100, stream)
        assert line.value == word
assert not libc.ferror(stream)
assert libc.dprintf(number, b"<%s>", b"text") == 6
assert receive(client, 6) == b"<text>"
server.detach()
assert libc.fclose(stream) == 0
assert client.recv(1) == b""
""")


def test_stdio_before_the_connect(run: Run) -> None:
    run(f"""{STDIO}
early = socket.socket()
stream = open_stream(early, b"w")
early.connect(listener.getsockname())
late, _ = listener.accept()
libc.fputs(b"early", stream)
early.detach()
assert libc.fclose(stream) == 0
assert receive(late) == b"early"
""")


@pytest.mark.parametrize("blocking", [True, False])
def test_sendfile(run: Run, blocking: bool) -> None:
    run(f"""
data = os.urandom(3_000_001)
file = tempfile.TemporaryFile()
file.write(data)
file.seek(7)
server.setblocking({blocking})
got = []
reader = threading.Thread(target=lambda: got.append(receive(client)))
reader.start()
offset = 100
while offset < len(data):
    try:
        offset += os.sendfile(number, file.fileno(), offset, len(data) - offset)
    except BlockingIOError:
        os.sched_yield()
assert file.tell() == 7, "an offset of one's own leaves the file's alone"
assert os.sendfile(number, file.fileno(), len(data), 10) == 0
server.close()
reader.join()
assert got == [data[100:]]
""")


def test_splice(run: Run) -> None:
    """A proxy by splice: from one connection into a pipe, and from there into another."""
    run("""
data = os.urandom(2_000_000)
client2, server2 = pair()
reading, writing = os.pipe()
def send():
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)
got = []
threads = [threading.Thread(target=send), threading.Thread(target=lambda: got.append(receive(client2)))]
for thread in threads:
    thread.start()
while held := os.splice(number, writing, 100_000):
    while held:
        held -= os.splice(reading, server2.fileno(), held)
server2.close()
for thread in threads:
    thread.join()
assert got == [data]
""")
