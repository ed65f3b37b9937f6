"""The vectors are what Argo CD's own functions wrote into a Redis, of three of its releases."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from sidecar.core.argocd_access_token import (
    NONCE_BYTES,
    access_token_key,
    encryption_key,
    group_keys,
    open_entry,
    seal_entry,
)

VECTORS = json.loads(
    (Path(__file__).parent / "vectors" / "argocd_access_token.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: f"{v['argocd']}-{v['subject']}")
def test_an_entry_is_byte_for_byte_what_argocds_own_functions_write(vector: dict[str, Any]) -> None:
    key = encryption_key(vector["secret"].encode())
    value = vector["value"].encode()
    nonce = base64.b64decode(json.loads(value))[:NONCE_BYTES]

    assert key.hex() == vector["encryption_key"]
    assert access_token_key(vector["subject"], prefix=vector["prefix"]) == vector["key"]
    assert seal_entry(vector["token"], key, nonce=nonce) == value


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: f"{v['argocd']}-{v['subject']}")
def test_what_argocd_wrote_is_read(vector: dict[str, Any]) -> None:
    key = encryption_key(vector["secret"].encode())

    assert open_entry(vector["value"].encode(), key) == vector["token"]


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"null",
        b'"not base64"',
        b'"QQ=="',
        b"[1]",
        b"\xff",
        base64.b64encode(b"x" * 64),
        seal_entry("access", b"o" * 32, nonce=b"n" * 12),
        seal_entry("access", b"k" * 32, nonce=b"n" * 12).replace(b"=", b"!="),
    ],
)
def test_what_argocd_could_not_read_is_no_token(value: bytes) -> None:
    assert open_entry(value, b"k" * 32) is None


def test_the_groups_that_argocd_remembers_stand_beside_it() -> None:
    assert group_keys("ada", prefix="team-a:") == [
        "team-a:userinfo_response_ada",
        "team-a:azure_groups_overage_response_ada",
    ]


def test_without_a_prefix_an_entry_stands_as_before_3_6() -> None:
    assert access_token_key("ada") == "access_token_ada"
    assert group_keys("ada") == ["userinfo_response_ada", "azure_groups_overage_response_ada"]
