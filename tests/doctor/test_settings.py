"""Ways to break the settings: variables, and Argo CD's own."""

from pathlib import Path

from sidecar.app import SystemClock
from sidecar.doctor.findings import Finding, Level
from sidecar.doctor.run import examine
from tests.config.mounted import Installation
from tests.doctor.patient import SECRET, Patient
from tests.fakes.kubernetes import stock


async def test_doctor_finds_every_wrong_variable(here: Patient) -> None:
    found = await here.findings(
        SIDECAR_ISUER="https://idp.example.org",
        SIDECAR_REFRESH_WINDOW="soon",
        SIDECAR_SESSION_KEYS="k:aHVzaC1odXNo",
    )

    assert {each.id for each in found} == {"settings.variables"}
    assert len(found) == 3
    assert all(each.level is Level.FAULT and each.mend for each in found)
    assert "aHVzaC1" not in repr(found)


async def test_doctor_finds_keys_that_are_made_at_each_start(here: Patient) -> None:
    assert set(await here.complaints(SIDECAR_SESSION_KEYS="")) == {"settings.keys"}


async def test_doctor_finds_cookies_that_anybody_on_the_way_can_read(here: Patient) -> None:
    here.argocd.settings.url = "http://argocd.example.org"
    here.provider.settings.redirect_uris = ("http://argocd.example.org/auth/callback",)
    here.front.document["authorization_endpoint"] = "http://argocd.example.org/idp"

    found = await here.complaints(SIDECAR_PUBLIC_URL="http://argocd.example.org")

    assert "settings.cookies" in found
    assert "https" in found["settings.cookies"].mend


async def installed(here: Patient, folder: Path) -> Installation:
    """The same client, said by Argo CD's own settings."""
    installation = Installation(folder)
    installation.log_in_at(
        here.environment["SIDECAR_ISSUER"], "argo-cd", SECRET,
        url=here.environment["SIDECAR_PUBLIC_URL"],
    )  # fmt: skip
    return installation


async def complaints(here: Patient, installation: Installation, **more: str) -> dict[str, Finding]:
    environment = {
        **installation.environment,
        "SIDECAR_UPSTREAM": here.environment["SIDECAR_UPSTREAM"],
        "SIDECAR_STORE_URL": "memory://",
        **more,
    }
    found = await examine(environment, SystemClock())
    return {f.id: f for f in found if f.level is not Level.OK and f.id != "store.kind"}


async def test_doctor_finds_nothing_wrong_with_argo_cds_settings(
    here: Patient, tmp_path: Path
) -> None:
    assert await complaints(here, await installed(here, tmp_path)) == {}


async def test_doctor_finds_that_argo_cd_refreshes_as_well(here: Patient, tmp_path: Path) -> None:
    installation = await installed(here, tmp_path)
    installation.add_to_oidc("refreshTokenThreshold: 5m")

    found = await complaints(here, installation)

    assert set(found) == {"settings.argocd"}
    assert "refreshTokenThreshold" in found["settings.argocd"].what
    assert "Take it out" in found["settings.argocd"].mend


async def test_doctor_finds_a_secret_that_is_not_there(here: Patient, tmp_path: Path) -> None:
    installation = await installed(here, tmp_path)
    installation.change("argocd-secret", {"oidc.clientSecret": None})

    found = await complaints(here, installation)

    assert set(found) == {"settings.argocd", "provider.secret"}
    assert "argocd-secret has no such key" in found["settings.argocd"].what


async def test_doctor_finds_half_written_yaml(here: Patient, tmp_path: Path) -> None:
    installation = await installed(here, tmp_path)
    installation.oidc("issuer: [https://idp")

    found = await complaints(here, installation)

    assert set(found) == {"settings.argocd"}
    assert found["settings.argocd"].level is Level.FAULT


async def test_doctor_finds_an_authority_that_is_none(here: Patient, tmp_path: Path) -> None:
    installation = await installed(here, tmp_path)
    installation.add_to_oidc("rootCA: not a certificate")

    found = await complaints(here, installation)

    assert set(found) == {"settings.argocd"}
    assert "rootCA" in found["settings.argocd"].what


async def test_doctor_finds_that_the_bundled_dex_does_not_start_with_its_settings(
    here: Patient, tmp_path: Path
) -> None:
    installation = await installed(here, tmp_path)
    installation.change("argocd-cm", {"oidc.config": None, "dex.config": b"connectors: []"})

    found = await complaints(here, installation)

    assert set(found) == {"settings.argocd"}
    assert "Dex" in found["settings.argocd"].what


async def test_doctor_finds_sessions_longer_than_argo_cds(here: Patient, tmp_path: Path) -> None:
    installation = await installed(here, tmp_path)
    installation.change("argocd-cm", {"users.session.duration": b"8h"})

    found = await complaints(here, installation, SIDECAR_SESSION_MAX_LIFETIME="24h")

    assert set(found) == {"settings.argocd"}
    assert "users.session.duration" in found["settings.argocd"].what


async def test_doctor_finds_what_the_kubernetes_api_says_of_the_client(
    here: Patient, tmp_path: Path
) -> None:
    cluster = stock(tmp_path / "account")
    text = f"issuer: {here.environment['SIDECAR_ISSUER']}\nclientID: argo-cd\n"
    text += "clientSecret: $oidc.clientSecret\n"
    url = here.environment["SIDECAR_PUBLIC_URL"]
    cluster.apply("argocd-cm", {"url": url.encode(), "oidc.config": text.encode()})
    cluster.apply("argocd-secret", {"oidc.clientSecret": b"a wrong one"})
    own = {
        "SIDECAR_UPSTREAM": here.environment["SIDECAR_UPSTREAM"],
        "SIDECAR_STORE_URL": "memory://",
    }

    async with cluster.running():
        environment = {**cluster.environ, **own}
        found = await examine(environment, SystemClock(), account=cluster.account)

    faults = {each.id for each in found if each.level is Level.FAULT}
    assert faults == {"provider.secret"}
