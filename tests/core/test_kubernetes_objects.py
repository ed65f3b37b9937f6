import base64
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.kubernetes_objects import (
    AccountItem,
    Event,
    Item,
    Kind,
    NotUnderstood,
    read_accounts,
    read_event,
    read_list,
    read_token,
)

KEYS = [
    "items",
    "metadata",
    "name",
    "labels",
    "data",
    "binaryData",
    "resourceVersion",
    "type",
    "object",
    "code",
]
WORDS = ["argocd-cm", "ADDED", "DELETED", "BOOKMARK", "ERROR", "1", "aGk=", "%", ""]
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS)
DOCUMENTS = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS), inner)
)


@given(DOCUMENTS, st.sampled_from(Kind))
def test_whatever_json_comes_it_is_read_or_not_understood(document: object, kind: Kind) -> None:
    text = json.dumps(document).encode()
    for read in (read_list, read_event):
        with contextlib.suppress(NotUnderstood):
            read(text, kind, "argocd-cm")


@given(st.binary())
def test_whatever_bytes_come_they_are_read_or_not_understood(text: bytes) -> None:
    for read in (read_list, read_event):
        with pytest.raises(NotUnderstood):
            read(text, Kind.SECRET, "argocd-secret")


def test_a_config_map_has_texts_and_bytes() -> None:
    document = {
        "metadata": {"name": "argocd-cm", "resourceVersion": "7"},
        "data": {"url": "https://ä.example.org"},
        "binaryData": {"logo": base64.b64encode(b"\xff").decode()},
    }
    line = json.dumps({"type": "ADDED", "object": document}).encode()

    item = Item({"logo": b"\xff", "url": "https://ä.example.org".encode()}, part_of_argocd=False)
    assert read_event(line, Kind.CONFIG_MAP, "argocd-cm") == Event("7", item, changed=True)


def test_an_object_of_another_name_in_a_list_is_not_taken() -> None:
    other = {"metadata": {"name": "argocd-cm-2"}, "data": {"url": "x"}}
    text = json.dumps({"metadata": {"resourceVersion": "7"}, "items": [other]}).encode()

    assert read_list(text, Kind.CONFIG_MAP, "argocd-cm") == (None, "7")


def test_an_item_shows_nothing_of_a_secret() -> None:
    assert "hunter2" not in repr(Event("7", Item({"a": b"hunter2"}, True), changed=True))


METADATA = {"name": "argocd-secret", "resourceVersion": "7"}


def event(**document: object) -> bytes:
    return json.dumps({"type": "MODIFIED", "object": {"metadata": METADATA, **document}}).encode()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (event(data={"a": "%"}), "not in base64"),
        (event(data={"a": 1}), "no text"),
        (event(data=["a"]), "another form"),
        (event(metadata={"name": "argocd-secret"}), "no resourceVersion"),
        (event(metadata={"name": "argocd-secret", "resourceVersion": ""}), "no resourceVersion"),
        (event(metadata={"name": "another"}), "of another kind"),
        (b'{"type": "RENAMED", "object": {}}', "of another kind"),
        (b'{"type": "ADDED"}', "another form"),
        (b"[]", "another form"),
        (b'{"type": "ADDED", "obj', "no JSON"),
    ],
)
def test_an_event_that_the_api_does_not_send_is_not_understood(line: bytes, why: str) -> None:
    with pytest.raises(NotUnderstood, match=why):
        read_event(line, Kind.SECRET, "argocd-secret")


@pytest.mark.parametrize(
    ("document", "code"),
    [({"code": 410}, 410), ({"code": "410"}, 500), ({"code": -1}, 500), ({}, 500)],
)
def test_a_watch_that_ends_says_by_which_code(document: object, code: int) -> None:
    line = json.dumps({"type": "ERROR", "object": document}).encode()

    assert read_event(line, Kind.SECRET, "argocd-secret") == Event(code=code)


def test_a_bookmark_moves_the_version_alone() -> None:
    line = json.dumps({"type": "BOOKMARK", "object": {"metadata": METADATA}}).encode()

    assert read_event(line, Kind.SECRET, "argocd-secret") == Event("7")


def test_an_object_that_is_deleted_is_there_no_more() -> None:
    line = json.dumps({"type": "DELETED", "object": {"metadata": METADATA}}).encode()

    assert read_event(line, Kind.SECRET, "argocd-secret") == Event("7", None, changed=True)


@pytest.mark.parametrize("items", ["a", {"a": 1}, 1])
def test_a_list_without_items_is_not_understood(items: object) -> None:
    text = json.dumps({"metadata": METADATA, "items": items}).encode()

    with pytest.raises(NotUnderstood, match="no items"):
        read_list(text, Kind.SECRET, "argocd-secret")
    with pytest.raises(NotUnderstood, match="no items"):
        read_accounts(text)


def test_service_accounts_have_their_annotations_and_the_secrets_that_they_list() -> None:
    items = [
        {"metadata": {"name": "ci", "annotations": {"a": "b"}}, "secrets": [{"name": "s"}, {}]},
        {"metadata": {"name": "bare"}},
    ]

    found = read_accounts(json.dumps({"items": items}).encode())

    assert found == [AccountItem("ci", {"a": "b"}, ("s", "")), AccountItem("bare", {})]
    assert read_accounts(b'{"items": null}') == []


@pytest.mark.parametrize(
    "account",
    [{"metadata": {}}, {"metadata": {"name": "a"}, "secrets": "s"}, {}, "a"],
    ids=["no name", "no list of secrets", "no metadata", "no object"],
)
def test_a_service_account_of_another_form_is_not_understood(account: object) -> None:
    with pytest.raises(NotUnderstood):
        read_accounts(json.dumps({"items": [account]}).encode())


def test_a_token_comes_with_its_end() -> None:
    text = b'{"status": {"token": "a.b.c", "expirationTimestamp": "2026-08-01T00:00:00Z"}}'

    assert read_token(text) == ("a.b.c", "2026-08-01T00:00:00Z")


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ({"expirationTimestamp": "z"}, "no token"),
        ({"token": 1, "expirationTimestamp": "z"}, "no token"),
        ({"token": "a\r\nX: y", "expirationTimestamp": "z"}, "no token"),
        ({"token": "a" * 16_385, "expirationTimestamp": "z"}, "no token"),
        ({"token": "a.b.c"}, "no end"),
        ({"token": "a.b.c", "expirationTimestamp": 7}, "no end"),
        (None, "another form"),
    ],
)
def test_an_answer_without_a_token_that_can_be_sent_is_not_understood(
    status: object, why: str
) -> None:
    with pytest.raises(NotUnderstood, match=why):
        read_token(json.dumps({"status": status}).encode())
