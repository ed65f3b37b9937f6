from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, DummyCookieJar
from cryptography.hazmat.primitives.asymmetric import rsa

from sidecar.demo.argocd import Argocd
from sidecar.demo.argocd_answers import ArgocdSettings
from sidecar.demo.oauth import ProviderSettings
from sidecar.demo.provider import DemoProvider
from tests.demo.client import REDIRECT_URI, Client, Clock


@pytest.fixture(scope="session")
def signing_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession(cookie_jar=DummyCookieJar()) as session:
        yield session


@pytest.fixture
async def provider(clock: Clock, signing_key: rsa.RSAPrivateKey) -> AsyncIterator[DemoProvider]:
    settings = ProviderSettings(redirect_uris=(REDIRECT_URI,))
    provider = DemoProvider(settings, now=clock.now, key=signing_key)
    async with provider.running():
        yield provider


@pytest.fixture
def client(http: ClientSession, provider: DemoProvider) -> Client:
    return Client(http, provider)


@pytest.fixture
async def argocd(clock: Clock, provider: DemoProvider) -> AsyncIterator[Argocd]:
    settings = ArgocdSettings(issuer=provider.issuer, event_seconds=None)
    argocd = Argocd(settings, now=clock.now, logins=lambda: provider.logins)
    async with argocd.running():
        yield argocd
