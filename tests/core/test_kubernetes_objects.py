import base64
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.kubernetes_objects import (
    MEND_HIDDEN,
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
        (event(data={"a": "%"}), "a value is not in base64"),
        (event(data={"a": 1}), "data has what is no text"),
        (event(data=["a"]), "the answer has another form"),
        (event(metadata={"name": "argocd-secret"}), "the answer has no resourceVersion"),
        (
            event(metadata={"name": "argocd-secret", "resourceVersion": ""}),
            "the answer has no resourceVersion",
        ),
        (
            event(metadata={"name": "argocd-secret", "resourceVersion": 7}),
            "the answer has no resourceVersion",
        ),
        (event(metadata={"name": "another"}), "an event is of another kind"),
        (b'{"type": "RENAMED", "object": {}}', "an event is of another kind"),
        (
            b'{"type": "RENAMED", "object": {"metadata": {"name": "argocd-secret"}}}',
            "an event is of another kind",
        ),
        (b'{"type": "ADDED"}', "the answer has another form"),
        (b"[]", "the answer has another form"),
        (b'{"type": "ADDED", "obj', "the answer is no JSON"),
        (b"[" * 100_000, "the answer is no JSON"),
    ],
)
def test_an_event_that_the_api_does_not_send_is_not_understood(line: bytes, why: str) -> None:
    with pytest.raises(NotUnderstood) as raised:
        read_event(line, Kind.SECRET, "argocd-secret")

    assert str(raised.value) == why
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({"code": 410}, 410),
        ({"code": 1}, 1),
        ({"code": 0}, 500),
        ({"code": "410"}, 500),
        ({"code": -1}, 500),
        ({}, 500),
    ],
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

    with pytest.raises(NotUnderstood, match=r"^the list has no items$"):
        read_list(text, Kind.SECRET, "argocd-secret")
    with pytest.raises(NotUnderstood, match=r"^the list has no items$"):
        read_accounts(text)


@pytest.mark.parametrize(("label", "part"), [("argocd", True), ("argo", False), (None, False)])
def test_an_object_is_argo_cds_by_its_label_alone(label: str | None, part: bool) -> None:
    labels = {"app.kubernetes.io/part-of": label} if label else {"app": "argocd"}
    object_ = {"metadata": {**METADATA, "labels": labels}, "data": {"a": "aGk="}}
    other = {"metadata": {"name": "other"}, "data": {"a": "eW91"}}
    text = json.dumps({"metadata": METADATA, "items": [other, object_]}).encode()

    assert read_list(text, Kind.SECRET, "argocd-secret") == (Item({"a": b"hi"}, part), "7")


def test_a_list_of_nothing_has_a_version_all_the_same() -> None:
    for items in ("[]", "null"):
        text = f'{{"metadata": {json.dumps(METADATA)}, "items": {items}}}'.encode()
        assert read_list(text, Kind.SECRET, "argocd-secret") == (None, "7")


def test_of_a_line_nothing_is_known_that_it_does_not_say() -> None:
    event, account = Event(), AccountItem("ci", {})

    assert (event.version, event.item, event.changed, event.code) == ("", None, False, 0)
    assert account.secrets == ()


def test_a_text_that_no_encoding_has_is_read_all_the_same() -> None:
    line = event(data={"a": "\ud800"})

    assert read_event(line, Kind.CONFIG_MAP, "argocd-secret").item == Item(
        {"a": b"\xed\xa0\x80"}, part_of_argocd=False
    )


def test_what_is_read_has_its_name_in_a_role_and_a_hidden_token_has_its_mend() -> None:
    assert {str(kind) for kind in Kind} == {"configmaps", "secrets"}
    assert MEND_HIDDEN.startswith("Take the empty volume over it out of the container")
    assert MEND_HIDDEN.endswith("set automountServiceAccountToken: true")


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
    with pytest.raises(NotUnderstood) as raised:
        read_accounts(json.dumps({"items": [account]}).encode())

    assert str(raised.value) in (
        "a service account has another form",
        "the answer has another form",
    )


def test_a_token_comes_with_its_end() -> None:
    text = b'{"status": {"token": "a.b.c", "expirationTimestamp": "2026-08-01T00:00:00Z"}}'

    assert read_token(text) == ("a.b.c", "2026-08-01T00:00:00Z")
    longest = json.dumps({"status": {"token": "a" * 16_384, "expirationTimestamp": ""}}).encode()
    assert read_token(longest) == ("a" * 16_384, "")


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ({"expirationTimestamp": "z"}, "the answer has no token"),
        ({"token": 1, "expirationTimestamp": "z"}, "the answer has no token"),
        ({"token": "a\r\nX: y", "expirationTimestamp": "z"}, "the answer has no token"),
        ({"token": "a" * 16_385, "expirationTimestamp": "z"}, "the answer has no token"),
        ({"token": "a.b.c"}, "the token has no end"),
        ({"token": "a.b.c", "expirationTimestamp": 7}, "the token has no end"),
        (None, "the answer has another form"),
    ],
)
def test_an_answer_without_a_token_that_can_be_sent_is_not_understood(
    status: object, why: str
) -> None:
    with pytest.raises(NotUnderstood, match=f"^{why}$"):
        read_token(json.dumps({"status": status}).encode())
