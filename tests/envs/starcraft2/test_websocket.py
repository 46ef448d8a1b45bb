"""The server's side of a WebSocket, spoken to byte by byte."""

import base64
import hashlib
import socket
import struct
import threading

import pytest

from benchmark.envs.starcraft2.standin.websocket import WebSocket

KEY = base64.b64encode(b"sixteen bytes!!!")
GREETING = (
    b"GET /sc2api HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: " + KEY + b"\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
TEXT, BINARY, CLOSE, PING, PONG, CONTINUATION = 1, 2, 8, 9, 10, 0


def frame(opcode, payload, final=True, mask=b"\x12\x34\x56\x78"):
    length = len(payload)
    head = bytes([opcode | (0x80 if final else 0)])
    if length < 126:
        head += bytes([0x80 | length])
    elif length < 1 << 16:
        head += bytes([0x80 | 126]) + struct.pack(">H", length)
    else:
        head += bytes([0x80 | 127]) + struct.pack(">Q", length)
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def answer(stream):
    """One frame from the server: its kind and its payload, which is never masked."""
    first, second = stream.read(2)
    assert first & 0x80
    assert not second & 0x80
    length = second
    if length == 126:
        (length,) = struct.unpack(">H", stream.read(2))
    elif length == 127:
        (length,) = struct.unpack(">Q", stream.read(8))
    return first & 0x0F, stream.read(length)


@pytest.fixture
def pair():
    """A greeted connection: the server's WebSocket, the client's socket and its stream."""
    client, server = socket.socketpair()
    client.settimeout(5)
    client.sendall(GREETING)
    web = WebSocket(_Tcp(server), "/sc2api")
    stream = client.makefile("rb")
    lines = [stream.readline().strip() for _ in range(5)]
    yield web, client, stream, lines
    client.close()
    web.close()


class _Tcp:
    """A Unix socket that accepts TCP's option."""

    def __init__(self, inner):
        self._inner = inner

    def setsockopt(self, *_):
        pass

    def __getattr__(self, name):
        return getattr(self._inner, name)


def test_greeting(pair):
    lines = pair[3]
    assert lines[0] == b"HTTP/1.1 101 Switching Protocols"
    digest = hashlib.sha1(KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    assert b"Sec-WebSocket-Accept: " + base64.b64encode(digest) in lines


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 200_001])
def test_messages_of_all_sizes_pass_both_ways(pair, size):
    web, client, stream, _ = pair
    message = bytes(i * 7 % 256 for i in range(size))
    sender = threading.Thread(target=client.sendall, args=(frame(TEXT, message),))
    sender.start()  # text that is no UTF-8, as pysc2 sends
    assert web.receive() == message
    sender.join()
    sender = threading.Thread(target=web.send, args=(message,))
    sender.start()
    assert answer(stream) == (BINARY, message)
    sender.join()


def test_fragments_are_joined_and_pings_answered_in_between(pair):
    web, client, stream, _ = pair
    client.sendall(frame(BINARY, b"one ", final=False) + frame(PING, b"there?"))
    client.sendall(frame(CONTINUATION, b"two ", final=False) + frame(CONTINUATION, b"three"))
    assert web.receive() == b"one two three"
    assert answer(stream) == (PONG, b"there?")


@pytest.mark.parametrize("farewell", [frame(CLOSE, b"\x03\xe8"), b"", b"\x82"])
def test_a_client_that_leaves(pair, farewell):
    web, client, _, _ = pair
    client.sendall(farewell)
    client.shutdown(socket.SHUT_WR)
    assert web.receive() is None


@pytest.mark.parametrize(
    "greeting",
    [GREETING.replace(b"/sc2api", b"/other"), b"GET /sc2api HTTP/1.1\r\n\r\n", b"\r\n\r\n"],
)
def test_other_requests_are_not_found(greeting):
    client, server = socket.socketpair()
    client.sendall(greeting)
    client.shutdown(socket.SHUT_WR)
    with pytest.raises(ConnectionError):
        WebSocket(_Tcp(server), "/sc2api")
    assert client.recv(100).startswith(b"HTTP/1.1 404")
    client.close()
