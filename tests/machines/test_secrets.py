"""No token of a machine's, and no credential of its requests', is ever written."""

from pathlib import Path

from aiohttp import ClientSession
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.fakes.github import GitHub
from tests.machines.yard import rules_text
from tests.system.process import sidecar_process, until_ready
from tests.system.test_secrets import forms
from tests.web.raw import raw_upstream
from tests.world import KEYS, free_port, system_now

CREDENTIAL = "an-api-token-that-nobody-may-see-1704"
REFUSAL = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"


async def test_a_real_process_writes_no_token_at_debug(
    github_key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    port, admin_port = free_port(), free_port()
    base, admin = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin_port}"
    github = GitHub(system_now, github_key)
    credential, rules, shown = tmp_path / "token", tmp_path / "rules.yaml", []
    credential.write_text(CREDENTIAL)
    async with github.running(), raw_upstream(REFUSAL) as upstream, ClientSession() as http:
        rules.write_text(rules_text(github, credential))
        environment = {
            "SIDECAR_LISTEN": f"127.0.0.1:{port}",
            "SIDECAR_ADMIN_LISTEN": f"127.0.0.1:{admin_port}",
            "SIDECAR_UPSTREAM": upstream.address,
            "SIDECAR_PUBLIC_URL": base,
            "SIDECAR_ISSUER": "https://idp.example.org",
            "SIDECAR_CLIENT_ID": "argo-cd",
            "SIDECAR_CLIENT_SECRET": "secret",
            "SIDECAR_STORE_URL": "memory://",
            "SIDECAR_SESSION_KEYS": KEYS,
            "SIDECAR_MACHINE_RULES": str(rules),
            "SIDECAR_LOG_LEVEL": "debug",
        }
        good = github.token()
        tokens = [
            good,
            github.token(repository="octo-org/other"),
            github.token(aud="x"),
            github.token(exp=1),
            github.token(header={"kid": "unknown"}),
            github.token(iss=github.issuer + "/"),
            github.token(padding="x" * 20_000),
            good[:-8] + "AAAAAAAA",
        ]
        async with sidecar_process(environment) as process:
            await until_ready(admin)
            for token in tokens:
                bearer = {"Authorization": f"Bearer {token}"}
                async with http.get(f"{base}/api/v1/applications", headers=bearer) as answer:
                    shown += [f"{answer.status}", await answer.text(), str(answer.headers)]
            async with http.get(f"{admin}/metrics") as answer:
                shown.append(await answer.text())
            credential.write_text(f"{CREDENTIAL} and more\n")
            async with http.get(base, headers={"Authorization": f"Bearer {tokens[0]}"}) as answer:
                shown.append(await answer.text())
            code, log = await process.stop()

    written = "\n".join([log, *shown])
    assert code == 0
    for event in ("machine_admitted", "machine_forbidden", "machine_refused",
                  "machine_credential_refused"):  # fmt: skip
        assert f'"event": "{event}"' in log
    assert CREDENTIAL.encode() in b"".join(upstream.requests)
    secrets = [CREDENTIAL, *(part for token in tokens for part in token.split(".")[1:])]
    assert not {form for secret in secrets for form in forms(secret) if form in written}
