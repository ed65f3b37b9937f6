"""What h11 makes of bytes: a strict reader of HTTP/1 that shares no code with ours."""

from dataclasses import dataclass

import h11

_MOST = 1024 * 1024
_FRAMING = (b"content-length", b"transfer-encoding")

Field = tuple[bytes, bytes]


@dataclass(frozen=True)
class Message:
    """A whole request or answer: what it says, without how its body was framed."""

    start: tuple[bytes, ...]
    """Method, target and version; or the status and the version."""
    fields: tuple[Field, ...]
    """In their order and spelling, without those that frame the body."""
    body: bytes
    trailers: tuple[Field, ...] = ()

    def field(self, name: bytes) -> list[bytes]:
        """Every value of a field; `name` in lower case."""
        return [value for field, value in self.fields if field.lower() == name]


def read_requests(data: bytes) -> tuple[list[Message], bytes]:
    """The whole requests at the beginning of `data`, and the bytes of one that is not whole.

    Raises:
        h11.RemoteProtocolError: these are no requests.
    """
    requests: list[Message] = []
    while data:
        found, after = read_request(data)
        if found is None:
            break
        requests.append(found)
        data = after
    return requests, data


def read_request(data: bytes) -> tuple[Message | None, bytes]:
    """The request at the beginning of `data`, None if it is not whole; and what follows it.

    Raises:
        h11.RemoteProtocolError: this is no request.
    """
    return _read(h11.Connection(h11.SERVER, _MOST), data)


def read_answer(data: bytes, method: str = "GET") -> tuple[Message | None, bytes]:
    """The answer at the beginning of `data`, whose connection then ends, and what follows it.

    Raises:
        h11.RemoteProtocolError: this is no whole answer to a request with this method.
    """
    client = h11.Connection(h11.CLIENT, _MOST)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())
    return _read(client, data, ends=True)


def _read(
    connection: h11.Connection, data: bytes, *, ends: bool = False
) -> tuple[Message | None, bytes]:
    connection.receive_data(data)
    if ends:
        connection.receive_data(b"")
    head: h11.Request | h11.Response | None = None
    body = b""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request | h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            trailers = tuple(event.headers.raw_items())
            return _message(head, body, trailers), connection.trailing_data[0]
        elif not isinstance(event, h11.InformationalResponse):
            return None, data


def _message(head: h11.Request | h11.Response, body: bytes, trailers: tuple[Field, ...]) -> Message:
    start = (
        (head.method, head.target, head.http_version)
        if isinstance(head, h11.Request)
        else (b"%d" % head.status_code, head.http_version)
    )
    fields = tuple(f for f in head.headers.raw_items() if f[0].lower() not in _FRAMING)
    return Message(start, fields, body, trailers)
