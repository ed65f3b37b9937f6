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
from sidecar.doctor.run import examine
from sidecar.ports import Clock
from tests.adapters.front import Front
from tests.world import KEYS, system_now

PUBLIC_URL = "http://127.0.0.1:9"
SECRET = "demo-secret"


@dataclass
class Patient:
    """Provider (behind a front that writes its documents), Argo CD, and the variables."""

    front: Front
    provider: DemoProvider
    argocd: Argocd
    environment: dict[str, str]

    async def findings(self, *, clock: Clock | None = None, **changes: str) -> list[Finding]:
        """All that the doctor finds with these variables besides; "" takes one out."""
        variables = {k: v for k, v in {**self.environment, **changes}.items() if v}
        return await examine(variables, clock or SystemClock())

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
    provider = DemoProvider(settings, now=system_now, key=key)
    front = Front(provider)
    async with provider.running(), front.running() as issuer:
        settings.issuer = issuer
        argocd = Argocd(
            ArgocdSettings(issuer=issuer, url=PUBLIC_URL, event_seconds=None), now=system_now
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
            )
