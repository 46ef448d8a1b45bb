"""The server's side of a WebSocket (RFC 6455), as much of it as StarCraft II's clients use.

One client, one thread, whole messages in and out. Written by hand because pysc2 sends protobuf in
*text* frames, which a library has to refuse: they are no UTF-8.
"""

import base64
import hashlib
import socket
import struct

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  #: from the RFC
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


class WebSocket:
    """A connection to one client.

    Args:
        connection: a socket whose client has not been greeted yet.
        path: the only path that is served.

    Raises:
        ConnectionError: the client left, or asked for something else and got an error.
    """

    def __init__(self, connection: socket.socket, path: str) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = connection
        self._stream = connection.makefile("rb")
        self._greet(path)

    def receive(self) -> bytes | None:
        """The next message, None once the client has gone."""
        parts = []
        while True:
            try:
                final, opcode, payload = self._frame()
            except ConnectionError:
                return None
            if opcode == _CLOSE:
                return None
            if opcode == _PING:
                self._write(_PONG, payload)
            elif opcode in (_CONTINUATION, _TEXT, _BINARY):
                parts.append(payload)
                if final:
                    return b"".join(parts)

    def send(self, message: bytes) -> None:
        """Sends a message as one binary frame.

        Raises:
            ConnectionError: the client has gone.
        """
        self._write(_BINARY, message)

    def close(self) -> None:
        """Ends the connection."""
        self._stream.close()
        self._connection.close()

    def _greet(self, path: str) -> None:
        request = self._stream.readline().split()
        headers = {}
        while line := self._stream.readline().strip():
            name, _, value = line.partition(b":")
            headers[name.strip().lower()] = value.strip()
        if request[1:2] != [path.encode()] or b"sec-websocket-key" not in headers:
            self._connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            self.close()
            raise ConnectionError("no WebSocket request for the path that is served")
        digest = hashlib.sha1(headers[b"sec-websocket-key"] + _MAGIC).digest()
        self._connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
        )

    def _frame(self) -> tuple[bool, int, bytes]:
        """One frame: whether it ends its message, its kind, its unmasked payload."""
        first, second = self._exactly(2)
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack(">H", self._exactly(2))
        elif length == 127:
            (length,) = struct.unpack(">Q", self._exactly(8))
        mask = self._exactly(4) if second & 0x80 else b""
        payload = self._exactly(length)
        return bool(first & 0x80), first & 0x0F, _unmasked(payload, mask)

    def _exactly(self, count: int) -> bytes:
        data = self._stream.read(count)
        if len(data) < count:
            raise ConnectionError("the client has gone")
        return data

    def _write(self, opcode: int, payload: bytes) -> None:
        length = len(payload)
        if length < 126:
            header = struct.pack(">BB", 0x80 | opcode, length)
        elif length < 1 << 16:
            header = struct.pack(">BBH", 0x80 | opcode, 126, length)
        else:
            header = struct.pack(">BBQ", 0x80 | opcode, 127, length)
        self._connection.sendall(header + payload)


def _unmasked(payload: bytes, mask: bytes) -> bytes:
    if not mask or not payload:
        return payload
    pad = (mask * (len(payload) // 4 + 1))[: len(payload)]
    both = int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")
    return both.to_bytes(len(payload), "big")
