"""Machines in front of Devtron, which looks for an API token in a field of its own."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa

from tests.fakes.clock import FakeClock
from tests.fakes.github import GitHub
from tests.machines.yard import rules_text
from tests.observed.place import devtron_place

API = "/app/list"


async def test_a_machine_goes_up_with_an_api_token_of_devtrons(
    fake_clock: FakeClock, github_key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    github = GitHub(fake_clock.now, github_key)
    credential, rules = tmp_path / "token", tmp_path / "rules.yaml"
    async with devtron_place(fake_clock) as place, github.running():
        credential.write_text(place.devtron.api_token())
        rules.write_text(rules_text(github, credential))
        replica = await place.start_sidecar(
            SIDECAR_LISTEN="127.0.0.1:0",
            SIDECAR_DEX_LISTEN="127.0.0.1:0",
            SIDECAR_MACHINE_RULES=str(rules),
        )
        browser = await place.browser(replica)
        bearer = {"Authorization": f"Bearer {github.token()}", "token": "e30.e30.x"}

        answer = await browser.get(API, headers=bearer)

        assert answer.status == 200
        assert place.devtron.tokens_at("/orchestrator" + API)[-1]["email"] == "API-TOKEN:ci"
        bad = {"api-token": github.token(aud="x")}
        assert (await browser.get(API, headers=bad)).status == 401
