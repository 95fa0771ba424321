"""A queue of RabbitMQ: `amqp_echo.py ask|hold HOST PORT`; what is published is consumed in order."""

import sys

import amqp

kind, host, port = sys.argv[1:]
COUNT = 200


def body_of(number: int) -> str:
    return f"{number};" * (1 + number * 31 % 2000)


def consume(channel: amqp.Channel, connection: amqp.Connection) -> None:
    got: list[str] = []
    channel.basic_consume("compat", callback=lambda message: got.append(message.body), no_ack=True)
    while len(got) < COUNT:
        connection.drain_events(timeout=8)
    assert got == [body_of(number) for number in range(COUNT)], "messages are wrong or out of order"


with amqp.Connection(f"{host}:{port}", connect_timeout=8, read_timeout=8) as connection:
    channel = connection.channel()
    channel.queue_declare("compat", auto_delete=False)
    for number in range(COUNT):
        channel.basic_publish(amqp.Message(body_of(number)), routing_key="compat")
    consume(channel, connection)
    if kind == "hold":
        print("held", flush=True)
        connection.transport.sock.settimeout(None)
        connection.drain_events()
print("all right")
