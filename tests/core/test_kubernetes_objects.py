import base64
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.kubernetes_objects import (
    Event,
    Item,
    Kind,
    NotUnderstood,
    read_event,
    read_list,
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
