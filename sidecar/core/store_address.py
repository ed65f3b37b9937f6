"""Where a store is: one server, one that Sentinels name, or a Cluster."""

import binascii
import re
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import unquote

Place = tuple[str, int]
"""A host and a port."""

_SENTINEL_PORT, _PORT = 26379, 6379
_ADDRESS = re.compile(
    r"(?P<redis>rediss?)(?:\+(?P<kind>sentinel|cluster))?://(?:(?P<login>[^/?#]*)@)?"
    r"(?P<hosts>[^@/?#]+)(?P<path>/[^?#]*)?"
)
_SOCKET = re.compile(r"unix://(?:(?P<login>[^/?#]*)@)?(?P<path>/[^?#]+)(?:\?db=(?P<db>\d{1,9}))?")
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::(?P<port>\d+))?")


def slot_of(key: bytes) -> int:
    """The slot of a Cluster that a key is in: of its hash tag, if it has one."""
    tag, closed, _ = key.partition(b"{")[2].partition(b"}")
    return binascii.crc_hqx(tag if tag and closed else key, 0) % 16384


class StoreKind(StrEnum):
    """Who says which server it is."""

    ONE = "one"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreAddress:
    """What an address says; `hosts` are the Sentinels' or some of the Cluster's, else the server.

    `socket` is the path of a Unix socket, and `primary` the name that the Sentinels know.
    """

    kind: StoreKind = StoreKind.ONE
    hosts: tuple[Place, ...] = ()
    socket: str = ""
    primary: str = ""
    database: int = 0
    tls: bool = False
    username: str = ""
    password: str = field(default="", repr=False)

    @classmethod
    def parse(cls, text: str) -> "StoreAddress":
        """What this address says.

        Raises:
            ValueError: it is none, with nothing of its text.
        """
        if socket := _SOCKET.fullmatch(text):
            username, password = _login(socket["login"])
            database = int(socket["db"] or 0)
            return cls(
                socket=unquote(socket["path"]),
                database=database,
                username=username,
                password=password,
            )
        found = _ADDRESS.fullmatch(text)
        if found is None:
            raise ValueError("is not an address")
        kind = StoreKind(found["kind"] or "one")
        primary, database = _path(kind, found["path"] or "")
        username, password = _login(found["login"])
        return cls(
            kind=kind,
            hosts=_hosts(kind, found["hosts"]),
            primary=primary,
            database=database,
            tls=found["redis"] == "rediss",
            username=username,
            password=password,
        )


def _path(kind: StoreKind, path: str) -> tuple[str, int]:
    """The primary's name, and the database."""
    if kind is StoreKind.SENTINEL:
        named = re.fullmatch(r"/([A-Za-z0-9._-]+)(?:/(\d{1,9})?)?", path)
        if named is None:
            raise ValueError("does not name the primary behind its Sentinels")
        return named[1], int(named[2] or 0)
    numbered = re.fullmatch(r"/?(\d{0,9})", path)
    if numbered is None:
        raise ValueError("is not an address")
    database = int(numbered[1] or 0)
    if kind is StoreKind.CLUSTER and database:
        raise ValueError("has a database, and a Cluster has none but 0")
    return "", database


def _hosts(kind: StoreKind, text: str) -> tuple[Place, ...]:
    usual = _SENTINEL_PORT if kind is StoreKind.SENTINEL else _PORT
    found = []
    for part in text.split(","):
        host = _HOST.fullmatch(part)
        if host is None or not 0 < (port := int(host["port"] or usual)) < 65536:
            raise ValueError("is not an address")
        found.append((host["v6"] or host["name"], port))
    if kind is StoreKind.ONE and len(found) > 1:
        raise ValueError("has several hosts, and does not say what they are")
    return tuple(found)


def _login(text: str | None) -> tuple[str, str]:
    username, _, password = (text or "").partition(":")
    return unquote(username), unquote(password)
