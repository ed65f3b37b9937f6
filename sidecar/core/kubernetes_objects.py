"""What the Kubernetes API answers of ConfigMaps, Secrets and service accounts, from its JSON."""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

PART_OF = "app.kubernetes.io/part-of"
MEND_HIDDEN = (
    "Take the empty volume over it out of the container, and set automountServiceAccountToken: true"
)
_TOKEN = re.compile(r"[!-~]{1,16384}")


class Kind(StrEnum):
    """What is read, by its name in a Role."""

    CONFIG_MAP = "configmaps"
    SECRET = "secrets"  # noqa: S105 - a resource


class NotUnderstood(ValueError):
    """An answer that is not what the API answers; the message shows nothing of it."""


@dataclass(frozen=True, slots=True)
class Item:
    """A ConfigMap or Secret as it is now."""

    data: Mapping[str, bytes] = field(repr=False)
    part_of_argocd: bool
    """Whether it has the label without which Argo CD does not look into it."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a watch: what the object is now, or with a `code`, why the watch ends."""

    version: str = ""
    item: Item | None = None
    changed: bool = False
    """Whether `item` counts; a bookmark has only a version."""
    code: int = 0


@dataclass(frozen=True, slots=True)
class AccountItem:
    """A service account as it is now; `secrets` are the names of those that it lists."""

    name: str
    annotations: Mapping[str, str]
    secrets: tuple[str, ...] = ()


def read_accounts(text: bytes) -> list[AccountItem]:
    """The service accounts in a list.

    Raises:
        NotUnderstood: it is no list of them.
    """
    items = _object(_parsed(text)).get("items") or ()
    if not isinstance(items, list | tuple):
        raise NotUnderstood("the list has no items")
    return [_account(each) for each in map(_object, items)]


def read_token(text: bytes) -> tuple[str, str]:
    """The token in the answer to a TokenRequest, and when it ends as it is written there.

    Raises:
        NotUnderstood: there is none that may stand in a header field.
    """
    status = _object(_object(_parsed(text)).get("status"))
    token, ends = status.get("token"), status.get("expirationTimestamp")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise NotUnderstood("the answer has no token")
    if not isinstance(ends, str):
        raise NotUnderstood("the token has no end")
    return token, ends


def read_list(text: bytes, kind: Kind, name: str) -> tuple[Item | None, str]:
    """The one object of that name in a list, if it is there, and the version to watch from.

    Raises:
        NotUnderstood: it is no list.
    """
    document = _object(_parsed(text))
    items = document.get("items")
    if items is not None and not isinstance(items, list):
        raise NotUnderstood("the list has no items")
    named = [each for each in map(_object, items or ()) if _metadata(each).get("name") == name]
    return (_item(named[0], kind) if named else None), _version(document)


def read_event(line: bytes, kind: Kind, name: str) -> Event:
    """One line of a watch.

    Raises:
        NotUnderstood: it is no event of this object.
    """
    event = _object(_parsed(line))
    word, document = event.get("type"), _object(event.get("object"))
    if word == "ERROR":
        code = document.get("code")
        return Event(code=code if isinstance(code, int) and code > 0 else 500)
    if word == "BOOKMARK":
        return Event(_version(document))
    if word not in ("ADDED", "MODIFIED", "DELETED") or _metadata(document).get("name") != name:
        raise NotUnderstood("an event is of another kind")
    item = None if word == "DELETED" else _item(document, kind)
    return Event(_version(document), item, changed=True)


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # not chained: it shows the text
        raise NotUnderstood("the answer is no JSON") from None


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise NotUnderstood("the answer has another form")
    return value


def _metadata(document: Mapping[str, Any]) -> dict[str, Any]:
    return _object(document.get("metadata"))


def _version(document: Mapping[str, Any]) -> str:
    version = _metadata(document).get("resourceVersion")
    if not isinstance(version, str) or not version:
        raise NotUnderstood("the answer has no resourceVersion")
    return version


def _item(document: Mapping[str, Any], kind: Kind) -> Item:
    encoded = "data" if kind is Kind.SECRET else "binaryData"
    data = {key: _decoded(text) for key, text in _texts(document, encoded).items()}
    if kind is Kind.CONFIG_MAP:
        texts = _texts(document, "data").items()
        data |= {key: text.encode(errors="surrogatepass") for key, text in texts}
    return Item(data, _texts(_metadata(document), "labels").get(PART_OF) == "argocd")


def _account(document: Mapping[str, Any]) -> AccountItem:
    metadata = _metadata(document)
    name, listed = metadata.get("name"), document.get("secrets") or []
    if not isinstance(name, str) or not isinstance(listed, list):
        raise NotUnderstood("a service account has another form")
    secrets = tuple(str(_object(each).get("name") or "") for each in listed)
    return AccountItem(name, _texts(metadata, "annotations"), secrets)


def _texts(document: Mapping[str, Any], name: str) -> dict[str, str]:
    found = _object(document.get(name) or {})
    if not all(isinstance(value, str) for value in found.values()):
        raise NotUnderstood(f"{name} has what is no text")
    return found


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise NotUnderstood("a value is not in base64") from None
