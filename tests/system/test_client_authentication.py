"""A login, renewals and a logout by each way in which a client can authenticate."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.config.mounted import Installation
from tests.system.client_keys import ec_key, pem, public_jwk, rsa_key, write_pod_token
from tests.system.provider_story import Story, story

ODD_SECRET = "a%2Bb+c/d=é:&"
NO_SECRET = {"SIDECAR_CLIENT_SECRET": ""}


async def told_by(here: Story, method: str) -> None:
    """A person's renewals and logout; the provider took the client by this method, always."""
    await here.lives_through(1)
    await here.log_out()
    async with asyncio.timeout(10):
        [revoked] = await here.hostile.logged("revoked", user="ada")
    entries = await here.hostile.log()
    assert [e for e in entries if e.kind == "refresh"]
    assert {e.method for e in entries} == {method}
    assert revoked.detail == "revoked by the client"


@pytest.mark.parametrize(
    ("chosen", "taken", "method"),
    [
        ("basic", "basic", "basic"),
        ("basic-raw", "basic-raw", "basic"),
        ("post", "post", "post"),
    ],
)
async def test_a_secret_with_odd_letters_arrives_as_the_provider_reads_it(
    chosen: str, taken: str, method: str
) -> None:
    environment = {"SIDECAR_CLIENT_AUTH": chosen, "SIDECAR_CLIENT_SECRET": ODD_SECRET}
    async with story(environment, client_auth=[taken], client_secret=ODD_SECRET) as here:
        await told_by(here, method)


async def test_a_public_client_shows_its_id_alone() -> None:
    environment = {**NO_SECRET, "SIDECAR_CLIENT_AUTH": "none"}
    async with story(environment, client_auth=["none"]) as here:
        await told_by(here, "none")


@pytest.mark.parametrize(
    ("alg", "audience"),
    [
        ("RS256", "{issuer}"),
        ("PS256", "{issuer}"),
        ("ES256", "{issuer}"),
        ("ES256", "{endpoint}"),
    ],
)
async def test_a_key_signs_an_assertion_for_every_request(
    tmp_path: Path, alg: str, audience: str
) -> None:
    """The provider takes each but once; Okta's profile makes it out for the endpoint asked."""
    key = ec_key() if alg == "ES256" else rsa_key()
    file = tmp_path / "key.pem"
    file.write_text(pem(key))
    environment = {
        **NO_SECRET,
        "SIDECAR_CLIENT_KEY_FILE": str(file),
        "SIDECAR_CLIENT_KEY_ID": "first",
        "SIDECAR_CLIENT_KEY_ALG": alg,
        "SIDECAR_PROVIDER": "generic" if audience == "{issuer}" else "okta",
    }
    async with story(
        environment,
        client_auth=["private-key-jwt"],
        client_keys=[public_jwk(key, alg, "first")],
        audiences=[audience],
    ) as here:
        await told_by(here, "assertion")


async def test_a_key_that_is_replaced_in_its_file_signs_the_next_request(tmp_path: Path) -> None:
    old, new = rsa_key(), rsa_key()
    file = tmp_path / "key.pem"
    file.write_text(pem(old))
    environment = {**NO_SECRET, "SIDECAR_CLIENT_KEY_FILE": str(file)}
    keys: dict[str, Any] = {
        "client_auth": ["private-key-jwt"],
        "client_keys": [public_jwk(old, "RS256")],
    }
    async with story(environment, **keys) as here:
        await here.lives_through(1)

        file.write_text(pem(new))
        await here.hostile.set(client_keys=[public_jwk(new, "RS256")])

        await here.lives_through(1)
        assert len(await here.entries("refused")) == 0


def azure(key: rsa.RSAPrivateKey) -> dict[str, Any]:
    """A provider that takes the pod's token for its client."""
    keys = [public_jwk(key, "RS256", "cluster")]
    return {"client_auth": ["workload-identity"], "pod_keys": keys}


async def test_a_pods_token_is_read_anew_for_refreshes_and_the_revocation(tmp_path: Path) -> None:
    """The kubelet replaces it long before its end; the one of the login is over by then."""
    first, later = rsa_key(), rsa_key()
    file = tmp_path / "token"
    write_pod_token(file, first)
    environment = {
        **NO_SECRET,
        "SIDECAR_CLIENT_AUTH": "workload-identity",
        "SIDECAR_CLIENT_ASSERTION_FILE": str(file),
    }
    async with story(environment, **azure(first)) as here:
        write_pod_token(file, later)
        await here.hostile.set(pod_keys=azure(later)["pod_keys"])

        await told_by(here, "assertion")


async def test_argo_cds_workload_identity_is_taken_over(tmp_path: Path) -> None:
    """With `azure.useWorkloadIdentity` and what Azure's webhook puts into the pod."""
    key, file = rsa_key(), tmp_path / "token"
    write_pod_token(file, key)
    argocd = Installation(tmp_path / "argocd")
    environment = {
        **NO_SECRET,
        **argocd.environment,
        "AZURE_FEDERATED_TOKEN_FILE": str(file),
        "AZURE_CLIENT_ID": "argo-cd",
        "AZURE_TENANT_ID": "a-tenant",
        "SIDECAR_ISSUER": "",
        "SIDECAR_CLIENT_ID": "",
    }
    async with story(environment, installation=argocd, oidc=AZURE, **azure(key)) as here:
        await told_by(here, "assertion")


AZURE = """
issuer: {issuer}
clientID: argo-cd
azure: {useWorkloadIdentity: true}
"""


async def test_what_shows_the_client_is_in_no_log_whatever_the_provider_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, file = rsa_key(), tmp_path / "token"
    write_pod_token(file, key)
    environment = {
        **NO_SECRET,
        "SIDECAR_CLIENT_AUTH": "workload-identity",
        "SIDECAR_CLIENT_ASSERTION_FILE": str(file),
        "SIDECAR_LOG_LEVEL": "debug",
    }
    async with story(environment, **azure(key)) as here:
        faults: tuple[dict[str, str], ...] = (
            {"answer": "generic/invalid_client"},
            {"drop": "before"},
        )
        for number, fault in enumerate(faults, start=1):
            await here.hostile.add(on="refresh", times=1, **fault)
            async with asyncio.timeout(20):
                while len(await here.entries("scripted")) < number:
                    await here.load()
                    await asyncio.sleep(0.1)
        async with asyncio.timeout(20):
            while await here.load() != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        await here.log_out()
        await here.hostile.logged("revoked", user="ada")

    written = "".join(capsys.readouterr())
    assert "login" in written
    assert not [part for part in file.read_text().split(".") if part in written]
