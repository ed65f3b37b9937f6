"""What of an ID token are groups, and how two are compared."""

import json
from base64 import urlsafe_b64encode
from typing import Any

import pytest

from sidecar.core.groups import (
    GROUPS_CLAIMS,
    MAX_NAME_LENGTH,
    group_change,
    groups_in,
    named,
)


def token(**claims: Any) -> str:
    payload = urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"e30.{payload}.c2ln"


@pytest.mark.parametrize(
    ("claims", "of", "groups"),
    [
        ({"groups": ["a", "b"]}, ("groups",), {"a", "b"}),
        ({"groups": "a"}, ("groups",), {"a"}),
        ({"groups": ["a", 1, None, ["b"]]}, ("groups",), {"a"}),
        ({"groups": {"a": True}}, ("groups",), set()),
        ({"groups": None}, ("groups",), set()),
        ({}, ("groups",), set()),
        ({"cognito:groups": ["a"], "groups": ["b"]}, ("cognito:groups",), {"a"}),
        ({"https://example.org/groups": ["a"]}, ("https://example.org/groups",), {"a"}),
        ({"groups": ["a"], "email": "a@b.example"}, ("groups", "email"), {"a", "a@b.example"}),
    ],
)  # fmt: skip
def test_groups_are_what_argocds_rbac_takes_for_them(
    claims: dict[str, Any], of: tuple[str, ...], groups: set[str]
) -> None:
    assert groups_in(token(**claims), of) == groups


@pytest.mark.parametrize("text", ["", "a.b", "a.b.c.d", "e30.!.e30", f"a.{'W' * 40000}.c"])
def test_what_is_no_token_has_no_groups(text: str) -> None:
    assert groups_in(text, ("groups",)) == set()


def test_groups_are_in_the_claim_that_argo_cd_looks_into_if_it_is_told_no_other() -> None:
    assert groups_in(token(groups=["dev"], roles=["ops"]), GROUPS_CLAIMS) == {"dev"}


def test_what_is_lost_and_gained_is_told_apart_and_the_order_is_nothing() -> None:
    before = token(groups=["dev", "admin"])

    assert group_change(before, token(groups=["ops", "dev"]), ("groups",)).lost == {"admin"}
    assert group_change(before, token(groups=["ops", "dev"]), ("groups",)).gained == {"ops"}
    assert not group_change(before, token(groups=["admin", "dev"], iat=1), ("groups",))
    assert group_change(before, token(groups=["dev"]), ("groups",))
    assert group_change(before, token(groups=["dev", "admin", "ops"]), ("groups",))
    assert group_change(before, token(), ("groups",)).lost == {"dev", "admin"}


def test_a_log_line_names_some_groups_and_none_at_any_length() -> None:
    longest = "b" * MAX_NAME_LENGTH
    names = named([*(f"g{number:04}" for number in range(1000)), longest, "a" * 101])

    assert len(names) == 20
    assert names[:3] == ["a" * MAX_NAME_LENGTH + "…", longest, "g0000"]
