"""Argo CD's own Redis, where it looks for access tokens: reached, written to, or not."""

from pathlib import Path

import pytest
from redis.asyncio import Redis

from sidecar.demo.valkey import valkey
from sidecar.doctor.findings import Level
from tests.config.mounted import Installation
from tests.doctor.patient import Patient


@pytest.fixture
def asking(here: Patient, tmp_path: Path) -> dict[str, str]:
    """Variables with an Argo CD that gets groups from the userinfo endpoint."""
    argocd = Installation(tmp_path)
    issuer = here.environment["SIDECAR_ISSUER"]
    argocd.log_in_at(issuer, "argo-cd", "demo-secret", url=here.argocd.url)
    argocd.add_to_oidc("enableUserInfoGroups: true\nuserInfoPath: /userinfo")
    return argocd.environment


async def test_doctor_writes_a_trial_token_and_takes_it_out_again(
    here: Patient, asking: dict[str, str]
) -> None:
    async with valkey() as url, Redis.from_url(url) as redis:
        found = await here.findings(
            clock=None, **asking, SIDECAR_SEED_ACCESS_TOKEN="on", SIDECAR_ARGOCD_REDIS_URL=url
        )

        (one,) = [each for each in found if each.id == "store.access_tokens"]
        assert one.level is Level.OK
        assert await redis.keys("*") == []


async def test_doctor_finds_that_argocds_redis_takes_no_token(
    here: Patient, asking: dict[str, str]
) -> None:
    async with valkey() as url, Redis.from_url(url) as redis:
        await redis.config_set("requirepass", "right")
        found = await here.complaints(
            clock=None,
            **asking,
            SIDECAR_SEED_ACCESS_TOKEN="on",
            SIDECAR_ARGOCD_REDIS_URL=url.replace("unix://", "unix://:wrong@"),
        )

    assert found["store.access_tokens"].level is Level.FAULT
    assert "AuthenticationError" in found["store.access_tokens"].what
    assert "wrong" not in repr(found)


async def test_doctor_says_how_groups_from_userinfo_would_work(
    here: Patient, asking: dict[str, str]
) -> None:
    found = await here.complaints(clock=None, **asking)

    assert "SIDECAR_SEED_ACCESS_TOKEN=on" in found["settings.argocd"].mend
    assert "store.access_tokens" not in found
