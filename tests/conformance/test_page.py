"""That docs/conformance.md has every module of the plans, and names tests that exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/conformance.md").read_text()
LOGOUT = "rp-backchannel-rpinitlogout"
# The suite's plans for the code flow, as its OIDCCClient*TestPlan classes have them.
PLANS = {
    "Basic RP": [
        "oidcc-client-test", "client-secret-basic", "idtoken-sig-none", "idtoken-sig-rs256",
        "invalid-aud", "invalid-sig-rs256", "invalid-iss", "kid-absent-multiple-jwks",
        "kid-absent-single-jwks", "missing-iat", "missing-sub", "nonce-invalid",
        "scope-userinfo-claims", "userinfo-bearer-body", "userinfo-bearer-header",
        "userinfo-invalid-sub",
    ],
    "Config RP": [
        "discovery-openid-config", "discovery-jwks-uri-keys", "discovery-issuer-mismatch",
        "idtoken-sig-none", "signing-key-rotation", "signing-key-rotation-just-before-signing",
    ],
    "Refresh Token": [
        "refresh-token", "refresh-token-invalid-issuer", "refresh-token-invalid-sub",
    ],
    "RP-Initiated Logout": [
        "rp-init-logout", "rp-init-logout-other-state", "rp-init-logout-no-state",
    ],
    "Back-Channel Logout": [
        LOGOUT,
        *(
            f"{LOGOUT}-{kind}"
            for kind in (
                "alg-none", "no-event", "with-nonce", "wrong-alg", "wrong-aud", "wrong-event",
                "wrong-iss",
            )
        ),
    ],
    "Front-Channel Logout and Session Management": [
        "rp-frontchannel-rpinitlogout", "rp-frontchannel-opinitlogout", "session-management",
    ],
}  # fmt: skip
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))


@pytest.mark.parametrize("plan", PLANS)
def test_each_module_of_a_plan_has_a_row(plan: str) -> None:
    section = PAGE.partition(f"## {plan}\n")[2].partition("\n## ")[0].partition("\nBeyond")[0]

    assert re.findall(r"^\| `([\w-]+)` \|", section, re.MULTILINE) == PLANS[plan]


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_each_test_that_is_named_exists(file: str, test: str) -> None:
    assert test in defined_in(file)


@cache
def defined_in(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in tree.body if isinstance(node, kinds)}
