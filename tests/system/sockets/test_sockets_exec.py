"""Direct connections that another image of the program, or another process, goes on with.

Each test is a program of its own under the library (and once without it, for what TCP does): it has both ends of a
connection over loopback, and gives one of them away.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.framework.sockets.direct import preloading
from tests.framework.sockets.loopback import PRELUDE, Run, relays, running, serving
from tests.framework.waiting import wait_until


@pytest.fixture(params=[True, False], ids=["direct", "plain"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Runs a program that begins with a connection; it must succeed and leave no relay behind."""
    with running(request.param) as runner:
        yield runner


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
    """The next image is told TCP's addresses if it has the preload library."""
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


@pytest.mark.parametrize("with_library", [True, False], ids=["with", "without"])
def test_passed_to_another_process(run: Run, with_library: bool) -> None:
    run(f"""
PROGRAM = '''
import os, socket, sys
_, numbers, _, _ = socket.recv_fds(socket.socket(fileno=0), 1, 1)
if {with_library}:
    assert socket.socket(fileno=os.dup(numbers[0])).getpeername()[1] == int(sys.argv[1])
while data := os.read(numbers[0], 65536):
    while data:
        data = data[os.write(numbers[0], data):]
'''
here, there = socket.socketpair()
environment = dict(os.environ)
if not {with_library}:
    environment.pop("LD_PRELOAD", None)
argv = [sys.executable, "-c", PROGRAM, str(client.getsockname()[1])]
child = subprocess.Popen(argv, stdin=there, env=environment)
socket.send_fds(here, [b"x"], [number])
server.close()
echoed(client)
assert child.wait() == 0
""")


def test_what_the_library_does_is_said_on_request() -> None:
    """VNICD_DEBUG: a line for each decision, phase and relay."""
    body = """
client.sendall(b"x")
assert server.recv(1) == b"x"
subprocess.run(["true"], stdin=server, check=True)
print(client.getsockname()[1], client.getpeername()[1])
"""
    with serving() as name:
        variables = {"VNICD_BROKER": name, "VNICD_LOOPBACK": 1, "VNICD_DEBUG": 1}
        argv = preloading([sys.executable, "-c", PRELUDE + body], True, **variables)
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
        client, server = done.stdout.split()
        there, back = f"127.0.0.1:{client} to 127.0.0.1:{server}", f"127.0.0.1:{server} to 127.0.0.1:{client}"
        assert f" to 127.0.0.1:{server}: direct\n" in done.stderr
        assert f"{there}: direct, was offered\n" in done.stderr
        assert re.search(rf"{back}: descriptor \d+ goes on by a relay\n", done.stderr)
        assert all(line.startswith("vnicd[") for line in done.stderr.splitlines())
        wait_until(lambda: not relays(name), 10, "the relays have ended")


def test_a_shell_hands_its_connection_on(run: Run) -> None:
    """Each of its children reads a part, and the next one begins where it has ended."""
    run("""
listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]
script = f"exec 3<>/dev/tcp/127.0.0.1/{port}; head -c 5 <&3; echo -n '|'; cat <&3; echo bye >&3"
for _ in range(5):
    shell = subprocess.Popen(["bash", "-c", script], stdout=subprocess.PIPE)
    accepted = listener.accept()[0]
    accepted.sendall(b"12345abcde")
    accepted.shutdown(socket.SHUT_WR)
    assert receive(accepted) == b"bye\\n"
    assert shell.communicate()[0] == b"12345|abcde"
    accepted.close()
""")


def test_stdio_on_a_standard_stream(run: Run) -> None:
    """As bash does it with /dev/tcp: the connection becomes standard output, and C's stdio writes to it."""
    run("""
import ctypes
library = ctypes.CDLL(None)
kept = os.dup(1)
os.dup2(number, 1)
library.printf(b"by stdio\\n")
library.fflush(None)
os.dup2(kept, 1)
assert receive(client, 9) == b"by stdio\\n"
server.sendall(b"still here")
assert receive(client, 10) == b"still here"
""")


SHELLS = """
libc = ctypes.CDLL(None)
libc.popen.restype = ctypes.c_void_p

def system(command):
    assert libc.system(command.encode()) == 0

def popen(command):
    assert libc.pclose(ctypes.c_void_p(libc.popen(command.encode(), b"r"))) == 0
"""


@pytest.mark.parametrize("shell", ["system", "popen"])
def test_shell(run: Run, shell: str) -> None:
    """A command that names the connection has it; it is not in its way, nor in others', if not."""
    run(f"""{SHELLS}
regions = open("/proc/self/maps").read().count("vnicd-region")
{shell}("true || exit 1")
assert open("/proc/self/maps").read().count("vnicd-region") == regions
client.sendall(b"still here")
assert receive(server, 10) == b"still here"
{shell}(f"echo hello >&{{number}}")
assert receive(client, 6) == b"hello\\n"
client.sendall(b"line\\n")
{shell}(f"read x <&{{number}}; test $x = line")
server.sendall(b"end")
server.close()
assert receive(client) == b"end"
""")
