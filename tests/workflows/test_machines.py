"""Machines in front of Argo Workflows: whose token they come with, and whose they go up with."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from structlog.testing import capture_logs

from tests.fakes.argo_server import Seen
from tests.fakes.clock import FakeClock
from tests.fakes.github import AUDIENCE, REPOSITORY, GitHub
from tests.fakes.service_accounts import AccountCluster
from tests.workflows.place import Place, workflows_place

WORKFLOWS = "/api/v1/workflows/argo"
DEPLOY = f"repository == '{REPOSITORY}' && ref == 'refs/heads/main'"
Rules = dict[str, Any]


def by_rule(**changes: Any) -> Rules:
    rule = {"name": "deploy", "if": DEPLOY, "service_account": "argo/ci", **changes}
    return {"rules": [rule]}


def by_annotation(*delegated: str) -> Rules:
    more = {"delegated_namespaces": delegated} if delegated else {}
    return {"annotated_service_accounts": {"namespace": "argo", **more}}


@dataclass
class Yard:
    """The place, its cluster, and the machines' issuer."""

    place: Place
    cluster: AccountCluster
    github: GitHub
    file: Path

    async def ask(self, token: str, target: str = WORKFLOWS, **headers: str) -> tuple[int, str]:
        sent = {**({"Authorization": f"Bearer {token}"} if token else {}), **headers}
        person = await self.place.person()
        async with person.http.get(self.place.base + target, headers=sent) as answer:
            return answer.status, await answer.text()

    async def account(self, token: str, target: str = WORKFLOWS) -> str:
        """In whose name Kubernetes is asked; "" where the request goes no further."""
        status, text = await self.ask(token, target)
        return str(json.loads(text)["account"]) if status == 200 else ""

    @property
    def last(self) -> Seen:
        return self.place.argo.seen[-1]

    def write(self, rules: Rules) -> None:
        issuer = {"name": "github", "issuer": self.github.issuer, "audiences": [AUDIENCE]}
        self.file.write_text(json.dumps({"issuers": [issuer], **rules}))


Make = Callable[..., Any]


@pytest.fixture
def make(
    clock: FakeClock,
    signing_key: rsa.RSAPrivateKey,
    cluster: AccountCluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Make:
    @asynccontextmanager
    async def made(rules: Rules, **changes: Any) -> AsyncIterator[Yard]:
        for name, value in cluster.environ.items():
            if name.startswith("KUBERNETES_"):
                monkeypatch.setenv(name, value)
        github, file = GitHub(clock.now, signing_key), tmp_path / "rules.yaml"
        yard = Yard(None, cluster, github, file)  # type: ignore[arg-type]
        async with AsyncExitStack() as owned:
            await owned.enter_async_context(github.running())
            yard.write(rules)
            yard.place = await owned.enter_async_context(
                workflows_place(
                    clock,
                    signing_key,
                    cluster=cluster,
                    SIDECAR_MACHINE_RULES=str(file),
                    **changes,
                )
            )
            yield yard

    return made


async def test_a_github_job_goes_up_as_the_service_account_of_its_rule(
    make: Make, cluster: AccountCluster
) -> None:
    cluster.add("argo", "ci")
    async with make(by_rule()) as yard:
        token = yard.github.token()

        assert await yard.account(token) == "argo/ci"
        assert yard.last.mode == "client"
        assert token not in str(yard.last.headers)
        assert yard.last.cookie_names == ()


async def test_a_job_of_another_repository_is_forbidden_and_reaches_nobody(
    make: Make, cluster: AccountCluster
) -> None:
    cluster.add("argo", "ci")
    async with make(by_rule()) as yard:
        status, text = await yard.ask(yard.github.token(repository="octo-org/other"))

        assert status == 403
        assert json.loads(text)["code"] == 7
        assert yard.place.argo.seen == []
        assert cluster.requests_for == []


async def test_a_token_that_fails_is_401_and_no_token_is_asked_for(
    make: Make, cluster: AccountCluster, clock: FakeClock
) -> None:
    cluster.add("argo", "ci")
    async with make(by_rule()) as yard:
        token = yard.github.token()
        clock.advance(3600)

        status, _ = await yard.ask(token)

        assert status == 401
        assert cluster.requests_for == []


async def test_a_hundred_jobs_share_one_token_which_is_renewed_at_80_percent_of_its_life(
    make: Make, cluster: AccountCluster, clock: FakeClock
) -> None:
    cluster.add("argo", "ci")
    async with make(by_rule()) as yard:
        for _ in range(50):
            assert await yard.account(yard.github.token()) == "argo/ci"
        first = yard.last.headers["Authorization"]
        clock.advance(0.8 * 3600)

        assert await yard.account(yard.github.token()) == "argo/ci"
        assert yard.last.headers["Authorization"] == first
        await yard.place.sidecars[0].settled()
        assert await yard.account(yard.github.token()) == "argo/ci"

        assert yard.last.headers["Authorization"] != first
        assert cluster.requests_for == ["argo/ci"] * 2


async def test_where_the_role_is_missing_it_is_503_and_the_log_says_what_to_grant(
    make: Make, cluster: AccountCluster
) -> None:
    cluster.add("argo", "ci")
    cluster.requestable.clear()
    async with make(by_rule()) as yard:
        with capture_logs() as lines:
            status, text = await yard.ask(yard.github.token())

        assert status == 503
        assert "serviceaccounts/token" not in text
        (line,) = [line for line in lines if line["event"] == "machine_credential"]
        assert "resources [serviceaccounts/token], resourceNames [ci]" in line["error"]
        cluster.requestable.add(("argo", "ci"))
        yard.place.clock.advance(2)
        assert await yard.account(yard.github.token()) == "argo/ci"


async def test_outside_of_kubernetes_it_is_503_and_the_log_says_so(
    make: Make, cluster: AccountCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with make(by_rule()) as yard:
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
        replica = await yard.place.start_sidecar(SIDECAR_LISTEN="127.0.0.1:0")
        yard.place.base = f"http://127.0.0.1:{replica.port}"
        with capture_logs() as lines:
            assert (await yard.ask(yard.github.token()))[0] == 503

        assert "no Kubernetes API here" in str(lines)


async def test_an_account_that_is_made_anew_is_asked_for_another_token_after_its_first_401(
    make: Make, cluster: AccountCluster
) -> None:
    cluster.add("argo", "ci")
    async with make(by_rule()) as yard:
        await yard.account(yard.github.token())
        cluster.make_anew("argo", "ci")

        assert (await yard.ask(yard.github.token()))[0] == 401
        assert await yard.account(yard.github.token()) == "argo/ci"
        assert cluster.requests_for == ["argo/ci"] * 2


async def test_an_upstream_that_answers_401_to_all_has_one_token_a_minute_asked_for(
    make: Make, cluster: AccountCluster
) -> None:
    cluster.add("argo", "ci")
    async with make(by_rule()) as yard:
        yard.place.argo.settings.modes = ("sso",)
        for _ in range(30):
            assert (await yard.ask(yard.github.token()))[0] == 401
            yard.place.clock.advance(1)

        assert cluster.requests_for == ["argo/ci"] * 2


# Chosen by annotations


async def test_the_account_is_the_one_whose_annotation_matches_with_the_highest_precedence(
    make: Make, cluster: AccountCluster
) -> None:
    cluster.add("argo", "default")
    cluster.add("argo", "low", rbac_rule=DEPLOY, rbac_rule_precedence="1")
    cluster.add("argo", "high", rbac_rule=DEPLOY, rbac_rule_precedence="10")
    cluster.add("argo", "other", rbac_rule="actor == 'nobody'", rbac_rule_precedence="11")
    async with make(by_annotation()) as yard:
        assert await yard.account(yard.github.token()) == "argo/high"
        assert await yard.account(yard.github.token(actor="nobody")) == "argo/other"


async def test_nobodys_annotation_is_403(make: Make, cluster: AccountCluster) -> None:
    cluster.add("argo", "ci", rbac_rule=DEPLOY)
    async with make(by_annotation()) as yard:
        status, _ = await yard.ask(yard.github.token(ref="refs/heads/feature"))

        assert status == 403


async def test_a_rule_about_groups_refuses_a_job_that_has_none_as_argo_workflows_would(
    make: Make, cluster: AccountCluster
) -> None:
    cluster.add("argo", "admin", rbac_rule="'ops' in groups", rbac_rule_precedence="10")
    cluster.add("argo", "ci", rbac_rule=DEPLOY)
    async with make(by_annotation()) as yard:
        assert (await yard.ask(yard.github.token()))[0] == 403

        cluster.add(
            "argo", "admin", rbac_rule="'ops' in ($env?.groups ?? [])", rbac_rule_precedence="10"
        )
        yard.place.clock.advance(30)

        assert await yard.account(yard.github.token()) == "argo/ci"


async def test_a_namespace_that_was_delegated_has_its_own_account_for_requests_about_it(
    make: Make, cluster: AccountCluster
) -> None:
    cluster.add("argo", "login", rbac_rule="true")
    cluster.add("team-a", "writer", rbac_rule=DEPLOY, rbac_rule_precedence="1")
    cluster.add("team-b", "same", rbac_rule=DEPLOY, rbac_rule_precedence="0")
    async with make(by_annotation("team-a", "team-b")) as yard:
        token = yard.github.token()

        assert await yard.account(token, "/api/v1/workflows/team-a") == "team-a/writer"
        assert await yard.account(token, "/api/v1/workflows/team-b") == "argo/login"
        assert await yard.account(token, "/api/v1/workflows/team-c") == "argo/login"
        assert await yard.account(token, "/api/v1/cron-workflows/team-a") == "team-a/writer"


async def test_an_annotation_that_was_taken_away_lets_nobody_in(
    make: Make, cluster: AccountCluster
) -> None:
    cluster.add("argo", "ci", rbac_rule=DEPLOY)
    async with make(by_annotation()) as yard:
        token = yard.github.token()
        assert await yard.account(token) == "argo/ci"
        cluster.add("argo", "ci")
        yard.place.clock.advance(30)

        assert (await yard.ask(token))[0] == 403


async def test_a_mounted_secret_that_the_annotation_names_is_the_token(
    make: Make, cluster: AccountCluster, tmp_path: Path
) -> None:
    cluster.add("argo", "ci", rbac_rule=DEPLOY, **{"service_account_token.name": "ci-token"})
    folder = tmp_path / "tokens/argo/ci-token"
    folder.mkdir(parents=True)
    (folder / "token").write_text("the-secrets-own\n")
    async with make(by_annotation(), SIDECAR_ACCOUNT_TOKENS_DIR=str(tmp_path / "tokens")) as yard:
        await yard.ask(yard.github.token())

        assert yard.last.headers["Authorization"] == "Bearer the-secrets-own"
        assert cluster.requests_for == []


async def test_rules_that_change_count_without_a_restart(
    make: Make, cluster: AccountCluster
) -> None:
    cluster.add("argo", "ci")
    cluster.add("argo", "other", rbac_rule=DEPLOY)
    async with make(by_rule()) as yard:
        token = yard.github.token()
        assert await yard.account(token) == "argo/ci"

        yard.write(by_rule(service_account="argo/other"))
        await yard.place.sidecars[0].running.changes.look()
        assert await yard.account(token) == "argo/other"

        cluster.add("argo", "annotated", rbac_rule=DEPLOY, rbac_rule_precedence="1")
        yard.write(by_annotation())
        await yard.place.sidecars[0].running.changes.look()
        assert await yard.account(token) == "argo/annotated"


# What passes untouched


async def test_argo_workflows_own_bearer_passes_as_it_came(
    make: Make, cluster: AccountCluster
) -> None:
    async with make(by_rule()) as yard:
        own = yard.place.argo.session("ada").removeprefix("Bearer ")

        status, _ = await yard.ask(own)

        assert status == 200
        assert (yard.last.mode, yard.last.subject) == ("sso", "ada")
        assert yard.last.headers["Authorization"] == f"Bearer {own}"


async def test_a_service_accounts_own_token_passes_as_it_came(
    make: Make, cluster: AccountCluster
) -> None:
    cluster.add("argo", "jenkins")
    async with make(by_rule()) as yard:
        token = cluster.issue("argo", "jenkins")

        assert await yard.account(token) == "argo/jenkins"
        assert yard.last.headers["Authorization"] == f"Bearer {token}"


async def test_a_persons_cookie_passes_as_it_came(make: Make) -> None:
    async with make(by_rule()) as yard:
        person = await yard.place.logged_in()

        assert (await person.fetch(WORKFLOWS))[0] == 200
        assert yard.last.mode == "sso"


async def test_a_machines_token_goes_up_without_the_cookies_beside_it(
    make: Make, cluster: AccountCluster
) -> None:
    cluster.add("argo", "ci")
    async with make(by_rule()) as yard:
        cookie = f'authorization="{yard.place.argo.session("ada")}"'

        status, text = await yard.ask(yard.github.token(), Cookie=cookie)

        assert (status, json.loads(text)["account"]) == (200, "argo/ci")
        assert yard.last.cookie_names == ()


async def test_nobody_impersonates_through_the_sidecar(make: Make, cluster: AccountCluster) -> None:
    cluster.add("argo", "ci")
    async with make(by_rule()) as yard:
        await yard.ask(yard.github.token(), **{"Impersonate-User": "system:admin"})

        assert "Impersonate-User" not in yard.last.headers


async def test_a_machine_follows_an_event_stream(make: Make, cluster: AccountCluster) -> None:
    cluster.add("argo", "ci")
    async with make(by_rule()) as yard:
        person = await yard.place.person()
        headers = {
            "Authorization": f"Bearer {yard.github.token()}",
            "Accept": "text/event-stream",
        }
        url = yard.place.base + "/api/v1/workflow-events/argo"
        async with person.http.get(url, headers=headers) as stream:
            yard.place.argo.events.put_nowait("ADDED")
            line = await stream.content.readline()
            yard.place.argo.events.put_nowait(None)
            await stream.read()

        assert b"ADDED" in line
        assert yard.last.account == "argo/ci"


async def test_without_client_mode_argo_server_refuses_the_account_and_the_log_says_so(
    make: Make, cluster: AccountCluster
) -> None:
    cluster.add("argo", "ci")
    async with make(by_rule()) as yard:
        yard.place.argo.settings.modes = ("sso",)
        with capture_logs() as lines:
            status, _ = await yard.ask(yard.github.token())

        assert status == 401
        assert [line for line in lines if line["event"] == "machine_credential_refused"]
