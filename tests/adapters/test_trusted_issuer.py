"""What a trusted issuer publishes, and how it can fail to."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession
from cryptography.hazmat.primitives.asymmetric import rsa

from sidecar.adapters.provider_http import provider_session
from sidecar.adapters.trusted_issuer import PublishedByIssuer
from sidecar.core.machine_rules import TrustedIssuer
from sidecar.errors import ProviderUnavailable
from tests.fakes.clock import FakeClock
from tests.fakes.github import GitHub


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with provider_session(total_seconds=10) as session:
        yield session


@pytest.fixture
async def github(signing_key: rsa.RSAPrivateKey) -> AsyncIterator[GitHub]:
    made = GitHub(FakeClock().now, signing_key)
    async with made.running():
        yield made


def published(http: ClientSession, github: GitHub, seconds: float = 5.0) -> PublishedByIssuer:
    issuer = TrustedIssuer(
        name="github",
        issuer=github.issuer,
        audiences=("x",),
        algorithms=("RS256",),
        types=("jwt",),
        leeway_seconds=0,
    )
    return PublishedByIssuer(http, issuer, seconds=seconds)


async def test_metadata_without_any_endpoint_but_the_keys_are_enough(
    http: ClientSession, github: GitHub
) -> None:
    (key,) = await published(http, github).keys()

    assert (key.kid, key.alg) == (github.kid, "RS256")


async def test_one_that_hangs_is_given_up_in_time(http: ClientSession, github: GitHub) -> None:
    github.gate = asyncio.Event()

    with pytest.raises(ProviderUnavailable):
        await published(http, github, seconds=0.05).keys()
    github.gate.set()


@pytest.mark.parametrize(
    "document",
    [
        {"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "x"}]},
        {"keys": "x"},
        ["x"],
        {"keys": [], "padding": "x" * (1024 * 1024)},
    ],
    ids=["symmetric", "no list", "no object", "too long"],
)
async def test_what_has_no_usable_key_is_no_answer(
    http: ClientSession, github: GitHub, document: object
) -> None:
    github.keys_document = document

    with pytest.raises(ProviderUnavailable):
        await published(http, github).keys()
