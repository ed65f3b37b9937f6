"""The demo's parts, as real servers: healthy, until a test breaks one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import rsa

from sidecar.app import SystemClock
from sidecar.demo.argocd import Argocd
from sidecar.demo.argocd_answers import ArgocdSettings
from sidecar.demo.oauth import ProviderSettings
from sidecar.demo.provider import DemoProvider
from sidecar.doctor.findings import Finding, Level
from sidecar.doctor.run import TrialLogin, examine
from sidecar.ports import Clock
from tests.adapters.front import Front
from tests.world import KEYS

PUBLIC_URL = "http://127.0.0.1:9"
SECRET = "demo-secret"


class PassingClock(SystemClock):
    """The machine's time, in which whoever sleeps makes time pass for all parts at once."""

    def __init__(self) -> None:
        self.slept = 0.0

    def now(self) -> float:
        return super().now() + self.slept

    def monotonic(self) -> float:
        return super().monotonic() + self.slept

    async def sleep(self, seconds: float) -> None:
        self.slept += seconds


async def nobody(_: str) -> str:
    """In the place of a person with a browser."""
    raise AssertionError("a person was asked")


@dataclass
class Patient:
    """Provider (behind a front that writes its documents), Argo CD, and the variables."""

    front: Front
    provider: DemoProvider
    argocd: Argocd
    environment: dict[str, str]
    clock: Clock
    trial: TrialLogin | None = None
    """The login that is tried, if one is."""

    async def findings(self, *, clock: Clock | None = None, **changes: str) -> list[Finding]:
        """All that the doctor finds with these variables besides; "" takes one out."""
        variables = {k: v for k, v in {**self.environment, **changes}.items() if v}
        return await examine(variables, clock or self.clock, trial_login=self.trial)

    async def complaints(self, *, clock: Clock | None = None, **changes: str) -> dict[str, Finding]:
        """The warnings and faults, by their ids, less the one about the memory store."""
        found = await self.findings(clock=clock, **changes)
        memory = "SIDECAR_STORE_URL" not in changes
        return {
            each.id: each
            for each in found
            if each.level is not Level.OK and not (memory and each.id == "store.kind")
        }


@asynccontextmanager
async def patient(key: rsa.RSAPrivateKey) -> AsyncIterator[Patient]:
    """Everything in good health."""
    settings = ProviderSettings(redirect_uris=(f"{PUBLIC_URL}/auth/callback",))
    clock = PassingClock()
    provider = DemoProvider(settings, now=clock.now, key=key)
    front = Front(provider)
    async with provider.running(), front.running() as issuer:
        settings.issuer = issuer
        argocd = Argocd(
            ArgocdSettings(issuer=issuer, url=PUBLIC_URL, event_seconds=None), now=clock.now
        )
        async with argocd.running() as upstream:
            yield Patient(
                front,
                provider,
                argocd,
                {
                    "SIDECAR_UPSTREAM": upstream,
                    "SIDECAR_PUBLIC_URL": PUBLIC_URL,
                    "SIDECAR_ISSUER": issuer,
                    "SIDECAR_CLIENT_ID": settings.client_id,
                    "SIDECAR_CLIENT_SECRET": SECRET,
                    "SIDECAR_STORE_URL": "memory://",
                    "SIDECAR_SESSION_KEYS": KEYS,
                },
                clock,
            )
