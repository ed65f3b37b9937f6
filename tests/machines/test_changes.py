"""Rules that change while machines come, and the addresses at which their issuers are asked."""

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from sidecar.flows.issuer_keys import OLD_SECONDS
from tests.machines.yard import API, Yard, yard
from tests.proxy.certificates import self_signed

NAME = "https://token.actions.example.org"


@pytest.fixture
async def place(
    signing_key: rsa.RSAPrivateKey, github_key: rsa.RSAPrivateKey, tmp_path: Path
) -> AsyncIterator[Yard]:
    async with yard(signing_key, github_key, tmp_path) as made:
        yield made


async def change(place: Yard, **issuer: Any) -> None:
    """Change the issuer in the file; `rule` changes its rule."""
    found = json.loads(place.rules.read_text())
    rule = issuer.pop("rule", {})
    found["issuers"][0] |= issuer
    found["rules"][0] |= rule
    place.rules.write_text(json.dumps(found))
    await look(place)


async def look(place: Yard) -> None:
    await place.here.sidecars[0].running.changes.look()


async def status(place: Yard, token: str) -> int:
    return (await place.ask(token=token, target=API)).status


async def test_a_changed_rule_counts_for_tokens_that_were_admitted(place: Yard) -> None:
    token = place.github.token()
    assert await status(place, token) == 200

    await change(place, rule={"if": "ref == 'refs/heads/release'"})
    assert await status(place, token) == 403

    await change(place, rule={"if": "true"})
    assert await status(place, token) == 200


async def test_an_issuer_that_is_not_trusted_any_more_is_nobody(place: Yard) -> None:
    token = place.github.token()
    assert await status(place, token) == 200

    await change(place, issuer="https://another.example.org")

    assert ["authorization", f"Bearer {token}"] in await place.reached(token=token)


async def test_a_broken_file_is_refused_and_the_one_before_goes_on(place: Yard) -> None:
    token = place.github.token()
    place.rules.write_text("issuers: [")
    await look(place)

    assert await status(place, token) == 200
    assert place.here.metric("configuration_refused") == 1


async def test_an_issuer_that_is_away_while_rules_change_keeps_its_keys(place: Yard) -> None:
    assert await status(place, place.github.token()) == 200
    place.github.available = False

    await change(place, audiences=["https://another.example.org"], max_age="5m")

    token = place.github.token(aud="https://another.example.org")
    assert await status(place, token) == 200
    assert place.github.key_reads == 1


async def test_an_issuer_at_another_address_keeps_its_keys_until_it_is_asked_there(
    place: Yard,
) -> None:
    assert await status(place, place.github.token()) == 200
    await change(place, jwks_uri=f"{place.github.address}/.well-known/jwks?moved")
    place.here.clock.advance(OLD_SECONDS)

    assert await status(place, place.github.token()) == 200
    assert place.github.asked.count("/.well-known/openid-configuration") == 1
    assert place.github.key_reads == 2


@pytest.mark.parametrize(
    ("where", "asked"),
    [
        ({"internal_url": "{address}"}, ["/.well-known/openid-configuration", "/.well-known/jwks"]),
        (
            {
                "discovery_url": "{address}/.well-known/openid-configuration",
                "internal_url": "{address}",
            },
            ["/.well-known/openid-configuration", "/.well-known/jwks"],
        ),
        ({"jwks_uri": "{address}/.well-known/jwks"}, ["/.well-known/jwks"]),
    ],
)
async def test_an_issuer_is_asked_where_the_rules_say(
    signing_key: rsa.RSAPrivateKey,
    github_key: rsa.RSAPrivateKey,
    tmp_path: Path,
    where: dict[str, str],
    asked: list[str],
) -> None:
    async with yard(signing_key, github_key, tmp_path, issuer=where, github_name=NAME) as place:
        assert await status(place, place.github.token()) == 200
        assert place.github.asked == asked


async def test_a_discovery_of_another_issuer_is_not_believed(
    signing_key: rsa.RSAPrivateKey, github_key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    at = {"internal_url": "{address}"}
    async with yard(signing_key, github_key, tmp_path, issuer=at, github_name=NAME) as place:
        token = place.github.token()
        place.github.issuer = "https://elsewhere.example.org"

        assert await status(place, token) == 503


async def test_an_issuer_with_an_authority_of_its_own_is_trusted_by_ca_file(
    signing_key: rsa.RSAPrivateKey, github_key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    pair = self_signed(tmp_path / "tls", "localhost")
    with_ca = {"ca_file": pair[0]}
    async with yard(signing_key, github_key, tmp_path, issuer=with_ca, github_tls=pair) as place:
        assert await status(place, place.github.token()) == 200


@pytest.mark.parametrize("name", ["", "sso.example.org"])
async def test_one_with_a_certificate_for_another_name_by_tls_server_name(
    signing_key: rsa.RSAPrivateKey, github_key: rsa.RSAPrivateKey, tmp_path: Path, name: str
) -> None:
    pair = self_signed(tmp_path / "tls", "sso.example.org")
    how = {"ca_file": pair[0], **({"tls_server_name": name} if name else {})}
    async with yard(signing_key, github_key, tmp_path, issuer=how, github_tls=pair) as place:
        assert await status(place, place.github.token()) == (200 if name else 503)


async def test_an_authority_that_is_not_known_is_503_until_it_is_mounted(
    signing_key: rsa.RSAPrivateKey, github_key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    pair = self_signed(tmp_path / "tls", "localhost")
    ca = tmp_path / "ca.crt"
    shutil.copy(pair[0], ca)
    at = {"ca_file": str(ca)}
    async with yard(signing_key, github_key, tmp_path, issuer=at, github_tls=pair) as place:
        ca.unlink()
        await change(place, max_age="9m")
        assert await status(place, place.github.token()) == 503

        shutil.copy(pair[0], ca)
        await change(place, max_age="10m")
        place.here.clock.advance(10)
        assert await status(place, place.github.token()) == 200
