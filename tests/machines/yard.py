"""A whole sidecar with rules for machines, between a GitHub and the stand-in for Argo CD."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import ClientSession
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.fakes.github import AUDIENCE, REPOSITORY, GitHub
from tests.proxy.certificates import Pair
from tests.web.raw import RawAnswer, http
from tests.world import PacedClock, World, world

ECHO = "/api/v1/echo"
API = "/api/v1/applications"
USERINFO = "/api/v1/session/userinfo"


@dataclass
class Yard:
    """The world, the machines' issuer, and the files that the rules name."""

    here: World
    github: GitHub
    credential: Path
    rules: Path
    audit: Path
    api_token: str = field(repr=False)

    async def ask(
        self, *fields: str, target: str = ECHO, method: str = "GET", token: str = ""
    ) -> RawAnswer:
        """The answer to a request with these header lines, through a real socket."""
        bearer = [f"Authorization: Bearer {token}"] if token else []
        lines = [f"{method} {target} HTTP/1.1", "Host: argocd.example.org", *bearer, *fields]
        return await http(self.here, "\r\n".join([*lines, "", ""]), stays_open=True)

    async def reached(self, *fields: str, token: str = "", target: str = ECHO) -> list[list[str]]:
        """The header fields of such a request, as Argo CD got them."""
        answer = await self.ask(*fields, token=token, target=target)
        assert answer.status == 200, answer
        found: list[list[str]] = json.loads(answer.body)["headers"]
        return [[name.lower(), value] for name, value in found]

    async def who(self, *fields: str, token: str = "") -> str:
        """Whom Argo CD takes such a request's sender for, "" for nobody."""
        answer = await self.ask(*fields, token=token, target=USERINFO)
        found = json.loads(answer.body) if answer.status == 200 else {}
        return str(found.get("username", ""))

    def audited(self, event: str) -> list[dict[str, Any]]:
        """The audit events of this name."""
        lines = [json.loads(line) for line in self.audit.read_text().splitlines()]
        return [line for line in lines if line["event"] == event]

    def counted(self, outcome: str, rule: str = "", issuer: str = "github") -> float:
        """How many requests had this outcome."""
        labels = {"issuer": issuer, "rule": rule, "outcome": outcome}
        return self.here.metric("machine_requests_total", **labels)


def rules_text(github: GitHub, credential: Path, **changes: Any) -> str:
    """Rules for one repository of GitHub's, in YAML; `changes` are of the issuer."""
    who = {"name": "github", "issuer": github.issuer, "audiences": [AUDIENCE]}
    issuer = {**who, "leeway": "30s", **changes}
    rule = {
        "name": "deploy",
        "issuers": ["github"],
        "if": f"repository == '{REPOSITORY}'",
        "token_file": str(credential),
    }
    return json.dumps({"issuers": [issuer], "rules": [rule]})


@asynccontextmanager
async def yard(
    signing_key: rsa.RSAPrivateKey,
    github_key: rsa.RSAPrivateKey,
    folder: Path,
    *,
    environment: Mapping[str, str | None] | None = None,
    issuer: Mapping[str, Any] | None = None,
    github_name: str = "",
    github_tls: Pair | None = None,
    **options: Any,
) -> AsyncIterator[Yard]:
    """All of it on loopback, on a clock that the test moves; None takes a variable out."""
    clock = PacedClock()
    github = GitHub(clock.now, github_key)
    github.issuer = github_name
    credential, rules, audit = (folder / name for name in ("api-token", "rules.yaml", "audit.log"))
    credential.write_text("not yet known\n")
    async with github.running(tls=github_tls):
        at = {name: _placed(value, github) for name, value in (issuer or {}).items()}
        rules.write_text(rules_text(github, credential, **at))
        given = {
            "SIDECAR_MACHINE_RULES": str(rules),
            "SIDECAR_AUDIT_LOG": str(audit),
            **(environment or {}),
        }
        variables = {name: value for name, value in given.items() if value is not None}
        async with world(signing_key, clock, environment=variables, **options) as here:
            api_token = await _logged_in(here)
            credential.write_text(api_token + "\n")
            yield Yard(here, github, credential, rules, audit, api_token)


def _placed(value: Any, github: GitHub) -> Any:
    """A value in which `{address}` is where the issuer listens."""
    return value.replace("{address}", github.address) if isinstance(value, str) else value


async def _logged_in(here: World) -> str:
    """A token that Argo CD gives a local account, past the sidecar."""
    account = {"username": "admin", "password": "admin"}
    async with ClientSession() as http_client:
        url = here.environment["SIDECAR_UPSTREAM"] + "/api/v1/session"
        async with http_client.post(url, json=account) as answer:
            return str((await answer.json())["token"])
