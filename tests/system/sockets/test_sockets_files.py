"""stdio, sendfile and splice on direct connections, and on TCP for comparison."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.framework.sockets.loopback import Run, running


@pytest.fixture(params=[True, False], ids=["direct", "plain"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Runs a program that begins with a connection; it must succeed and leave no relay behind."""
    with running(request.param) as runner:
        yield runner


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
