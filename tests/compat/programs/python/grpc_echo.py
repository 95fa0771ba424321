"""gRPC at both ends without generated code: `grpc_echo.py serve|ask|hold HOST PORT`; calls and streams are echoed."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc

kind, host, port = sys.argv[1:]
TIMEOUT_S = 10


def body_of(number: int) -> bytes:
    return (b"%d;" % number) * (1 + number * 311 % 30000)


def serve() -> None:
    def echo(request: bytes, context: object) -> bytes:
        return request

    def echo_all(requests: Iterator[bytes], context: object) -> Iterator[bytes]:
        yield from requests

    methods = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo),
        "EchoAll": grpc.stream_stream_rpc_method_handler(echo_all),
    }
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("compat.Echo", methods),))
    assert server.add_insecure_port(f"{host}:{port}")
    server.start()
    server.wait_for_termination()


def ask() -> None:
    for _ in range(5):  # channels
        with grpc.insecure_channel(f"{host}:{port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
            call = channel.unary_unary("/compat.Echo/Echo")
            for number in range(60):
                assert call(body_of(number), timeout=TIMEOUT_S) == body_of(number), f"call {number}"
            wanted = [body_of(number) for number in range(100)]
            got = channel.stream_stream("/compat.Echo/EchoAll")(iter(wanted), timeout=TIMEOUT_S)
            assert list(got) == wanted, "a stream came back wrong"
    print("all right")


def hold() -> None:
    def endless() -> Iterator[bytes]:
        number = 0
        while True:
            yield b"%d" % number
            number += 1

    with grpc.insecure_channel(f"{host}:{port}") as channel:
        for got in channel.stream_stream("/compat.Echo/EchoAll")(endless()):
            if got == b"10":
                print("held", flush=True)


{"serve": serve, "ask": ask, "hold": hold}[kind]()
