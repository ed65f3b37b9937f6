"""Rules in annotations, read from a real socket: known at once, changed soon, never stale."""

from collections.abc import AsyncIterator

import pytest
import structlog
from structlog.testing import capture_logs

from sidecar.adapters.kubernetes_api import KubernetesApi
from sidecar.adapters.service_accounts import KubernetesAccounts
from sidecar.core.bearer_tokens import Machine
from sidecar.core.machine_rules import Annotated, Choice, Refusal
from sidecar.errors import MachineCredentialUnavailable
from sidecar.flows.account_rules import AccountRules
from sidecar.flows.tasks import Runtime, Tasks
from sidecar.metrics import Metrics
from tests.fakes.clock import FakeClock
from tests.fakes.service_accounts import AccountCluster


@pytest.fixture
async def made(clock: FakeClock) -> AsyncIterator[Runtime]:
    log = structlog.get_logger()
    tasks = Tasks(log)
    yield Runtime(clock, bytes, tasks, Metrics(), log)
    await tasks.aclose(seconds=5)


def rules(
    cluster: AccountCluster, made: Runtime, *delegated: str, own: str = "argo"
) -> AccountRules:
    api = KubernetesApi(cluster.environ, cluster.account, "argocd")
    return AccountRules(KubernetesAccounts(api, now=cluster.now), Annotated(own, delegated), made)


def machine(subject: str) -> Machine:
    return Machine("github", subject, {"sub": subject})


def name(chosen: Choice | Refusal | None) -> str:
    return chosen.rule if isinstance(chosen, Choice) else ""


JOB = machine("job")


async def test_the_account_is_chosen_by_its_annotation(
    cluster: AccountCluster, made: Runtime
) -> None:
    cluster.add("argo", "ci", rbac_rule="sub == 'job'")
    cluster.add("argo", "default")
    annotated = rules(cluster, made)
    assert annotated.choose_now(JOB, "/api/v1/info") is None

    chosen = await annotated.choose(JOB, "/api/v1/info")

    assert name(chosen) == "argo/ci"
    assert annotated.choose_now(JOB, "/api/v1/info") is chosen
    assert name(annotated.choose_now(machine("stranger"), "/api/v1/info")) == ""
    assert cluster.lists_of == ["argo"]


async def test_without_a_namespace_the_sidecars_own_counts(
    cluster: AccountCluster, made: Runtime
) -> None:
    cluster.add("argocd", "ci", rbac_rule="sub == 'job'")

    assert name(await rules(cluster, made, own="").choose(JOB, "/")) == "argocd/ci"


async def test_the_precedence_is_the_annotations(cluster: AccountCluster, made: Runtime) -> None:
    cluster.add("argo", "a-low", rbac_rule="sub == 'job'", rbac_rule_precedence="1")
    cluster.add("argo", "b-high", rbac_rule="sub == 'job'", rbac_rule_precedence="10")

    assert name(await rules(cluster, made).choose(JOB, "/")) == "argo/b-high"


@pytest.mark.parametrize(
    ("delegated", "target", "expected"),
    [
        ((), "/api/v1/workflows/team-a", "argo/ci"),
        (("*",), "/api/v1/workflows/team-a", "team-a/ci"),
        (("team-a",), "/api/v1/workflow-events/team-a", "team-a/ci"),
        (("team-b",), "/api/v1/workflows/team-a", "argo/ci"),
        (("*",), "/api/v1/workflows/argo", "argo/ci"),
        (("*",), "/api/v1/info", "argo/ci"),
    ],
)
async def test_a_delegated_namespace_counts_for_requests_about_it(
    cluster: AccountCluster,
    made: Runtime,
    delegated: tuple[str, ...],
    target: str,
    expected: str,
) -> None:
    cluster.add("argo", "ci", rbac_rule="sub == 'job'")
    cluster.add("team-a", "ci", rbac_rule="sub == 'job'", rbac_rule_precedence="1")
    annotated = rules(cluster, made, *delegated)

    assert name(await annotated.choose(JOB, target)) == expected
    assert name(annotated.choose_now(JOB, target)) == expected


async def test_two_namespaces_in_turn_each_have_their_own_decision(
    cluster: AccountCluster, made: Runtime
) -> None:
    cluster.add("argo", "ci", rbac_rule="sub == 'job'")
    cluster.add("team-a", "a", rbac_rule="sub == 'job'", rbac_rule_precedence="1")
    cluster.add("team-b", "b", rbac_rule="sub == 'job'", rbac_rule_precedence="1")
    annotated = rules(cluster, made, "*")
    targets = [f"/api/v1/workflows/{team}" for team in ("team-a", "team-b", "argo")] * 2

    found = [name(await annotated.choose(JOB, target)) for target in targets]

    assert found == ["team-a/a", "team-b/b", "argo/ci"] * 2


async def test_a_rule_that_was_taken_away_lets_nobody_in_after_ten_seconds(
    cluster: AccountCluster, made: Runtime, clock: FakeClock
) -> None:
    cluster.add("argo", "ci", rbac_rule="sub == 'job'")
    annotated = rules(cluster, made)
    await annotated.choose(JOB, "/")
    cluster.add("argo", "ci")

    clock.advance(10)
    assert name(annotated.choose_now(JOB, "/")) == "argo/ci"
    await made.tasks.idle()

    assert isinstance(annotated.choose_now(JOB, "/"), Refusal)


async def test_accounts_that_nobody_asked_about_for_half_a_minute_are_listed_first(
    cluster: AccountCluster, made: Runtime, clock: FakeClock
) -> None:
    cluster.add("argo", "ci", rbac_rule="sub == 'job'")
    annotated = rules(cluster, made)
    await annotated.choose(JOB, "/")
    cluster.add("argo", "ci")

    clock.advance(30)

    assert annotated.choose_now(JOB, "/") is None
    assert isinstance(await annotated.choose(JOB, "/"), Refusal)


async def test_while_kubernetes_is_away_the_rules_hold_for_half_a_minute_and_then_nobody_matches(
    cluster: AccountCluster, made: Runtime, clock: FakeClock
) -> None:
    cluster.add("argo", "ci", rbac_rule="sub == 'job'")
    annotated = rules(cluster, made)
    await annotated.choose(JOB, "/")
    cluster.status = 503

    clock.advance(29)
    assert name(annotated.choose_now(JOB, "/")) == "argo/ci"
    await made.tasks.idle()
    assert name(annotated.choose_now(JOB, "/")) == "argo/ci"
    clock.advance(1)

    with pytest.raises(MachineCredentialUnavailable):
        await annotated.choose(JOB, "/")


async def test_a_namespace_that_no_role_lets_be_listed_names_what_to_grant(
    cluster: AccountCluster, made: Runtime
) -> None:
    with capture_logs() as lines, pytest.raises(MachineCredentialUnavailable):
        await rules(cluster, made).choose(JOB, "/")

    for part in ("in argo", "[serviceaccounts]", "[get, list]", "403"):
        assert part in lines[0]["error"]
    assert lines[0]["log_level"] == "error"


async def test_a_requests_namespace_that_may_not_be_listed_leaves_the_logins_account(
    cluster: AccountCluster, made: Runtime
) -> None:
    cluster.add("argo", "ci", rbac_rule="sub == 'job'")

    with capture_logs() as lines:
        chosen = await rules(cluster, made, "*").choose(JOB, "/api/v1/workflows/team-a")

    assert name(chosen) == "argo/ci"
    assert "in team-a" in lines[0]["error"]


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b'{"items": 5}', b'{"items": [{}]}', b'{"items": [{"metadata": {"name": 1}}]}'],
)
async def test_an_answer_that_is_no_list_lets_nobody_in(
    cluster: AccountCluster, made: Runtime, body: bytes
) -> None:
    cluster.add("argo", "ci", rbac_rule="sub == 'job'")
    cluster.body = body
    annotated = rules(cluster, made)

    with capture_logs():
        try:
            chosen: object = await annotated.choose(JOB, "/")
        except MachineCredentialUnavailable:
            chosen = None

    assert not isinstance(chosen, Choice)
