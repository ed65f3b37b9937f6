"""Whatever the others answer, the doctor says something, and does not fail."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.settings import Config
from sidecar.core.provider_addresses import ProviderAddresses, endpoints_at
from sidecar.doctor.fetch import Page
from sidecar.doctor.forms import form_to_fill
from sidecar.doctor.outside import OutsideSeen, of_outside
from sidecar.doctor.provider import of_provider
from sidecar.doctor.provider_look import ProviderSeen
from sidecar.doctor.report import as_json, as_text
from sidecar.doctor.store import of_store
from sidecar.doctor.store_look import StoreSeen
from sidecar.doctor.upstream import of_upstream
from sidecar.doctor.upstream_look import UpstreamSeen
from tests.core.examples import properties
from tests.world import KEYS

ISSUER = "https://idp.example.org"
CONFIG = Config.load(
    {
        "SIDECAR_PUBLIC_URL": "https://argocd.example.org",
        "SIDECAR_ISSUER": ISSUER,
        "SIDECAR_CLIENT_ID": "argo-cd",
        "SIDECAR_STORE_URL": "redis://argocd-redis:6379/0",
        "SIDECAR_SESSION_KEYS": KEYS,
    }
)
URLS = st.sampled_from(["http://[", "https://x/", "http://\x1b[2J/", "//", "javascript:1"])
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | URLS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [
        "authorization_endpoint", "token_endpoint", "jwks_uri", "scopes_supported",
        "grant_types_supported", "code_challenge_methods_supported", "url", "oidcConfig",
        "id_token_signing_alg_values_supported", "Version", "keys",
    ]
)  # fmt: skip
DOCUMENTS = st.dictionaries(NAMES, JSON)
ADDRESSES = (ProviderAddresses(ISSUER), ProviderAddresses(ISSUER, "http://idp.sso.svc"))
PAGES = st.builds(
    Page,
    status=st.sampled_from([0, 200, 302, 400, 404, 503]),
    headers=st.fixed_dictionaries({"Location": st.text(max_size=30) | URLS}),
    set_cookies=st.tuples(st.text(max_size=30)),
    body=st.binary(max_size=50) | JSON.map(lambda value: repr(value).encode()),
)

MARKUP = st.sampled_from(
    [
        "<form method=post action='http://['>", "<form method=post>", "<form>", "</form>",
        "<input type=password name=p>", "<button name=b>", "<input>", "<![", "<!--", "&#x110000;",
    ]
)  # fmt: skip


@properties
@given(
    document=DOCUMENTS, page=PAGES, error=st.text(max_size=10), addresses=st.sampled_from(ADDRESSES)
)
def test_doctor_judges_whatever_a_provider_answers(
    document: dict[str, Any], page: Page, error: str, addresses: ProviderAddresses
) -> None:
    named = {**document, "issuer": ISSUER}
    seen = ProviderSeen(
        Page(200), addresses, named, endpoints_at(addresses, named), jwks=page, authorization=page,
        token_error=error, token_problem="x",
    )  # fmt: skip

    found = list(of_provider(CONFIG, seen))

    assert found
    assert as_json(found)
    assert "\x1b" not in as_text(found)


@properties
@given(page=PAGES, settings=DOCUMENTS)
def test_doctor_judges_whatever_argo_cd_answers(page: Page, settings: dict[str, Any]) -> None:
    shown = Page(200, body=as_bytes(settings))
    version = Page(200, body=b'{"Version": "v3"}')

    assert list(of_upstream(CONFIG, UpstreamSeen(page, shown, page)))
    assert list(of_upstream(CONFIG, UpstreamSeen(version, shown, page)))
    assert list(of_outside(CONFIG, OutsideSeen((("https://argocd.example.org", page),))))


@properties
@given(page=st.text(max_size=200) | st.lists(MARKUP, max_size=8).map("".join))
def test_doctor_reads_whatever_page_a_provider_shows(page: str) -> None:
    form = form_to_fill(page, "https://idp.example.org/")

    assert form is None or form.filled("ada", "pw") is not None


@pytest.mark.parametrize("value", ["", "x", None, -1, 10**30])
@pytest.mark.parametrize("key", ["redis_version", "maxmemory", "used_memory", "aof_enabled"])
def test_doctor_judges_whatever_a_store_reports(key: str, value: object) -> None:
    info = {"maxmemory": 100, "redis_version": "7.2.4", key: value}
    seen = StoreSeen(saves=True, refuses_stale=True, keeps_ttl=True, info=info)

    assert list(of_store(CONFIG, seen))


def as_bytes(value: object) -> bytes:
    return json.dumps(value).encode()
