"""Service accounts' tokens from a real socket: asked for once, kept, renewed, refused."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import structlog
from structlog.testing import capture_logs

from sidecar.adapters.kubernetes_api import KubernetesApi
from sidecar.adapters.service_accounts import KubernetesAccounts
from sidecar.core.machine_rules import ServiceAccount, TokenFile
from sidecar.errors import MachineCredentialUnavailable
from sidecar.flows import account_tokens, kept
from sidecar.flows.account_tokens import AccountTokens
from sidecar.flows.tasks import Runtime, Tasks
from sidecar.metrics import Metrics
from tests.fakes.clock import FakeClock
from tests.fakes.service_accounts import AccountCluster
from tests.world import eventually

CI = ServiceAccount("argo", "ci")


def accounts_of(cluster: AccountCluster, *, list_seconds: float = 5.0) -> KubernetesAccounts:
    api = KubernetesApi(cluster.environ, cluster.account, "argocd", list_seconds=list_seconds)
    return KubernetesAccounts(api, now=cluster.now)


@asynccontextmanager
async def runtime(clock: FakeClock) -> AsyncIterator[Runtime]:
    log = structlog.get_logger()
    tasks = Tasks(log)
    yield Runtime(clock, bytes, tasks, Metrics(), log)
    await tasks.aclose(seconds=5)


@pytest.fixture
async def made(clock: FakeClock) -> AsyncIterator[Runtime]:
    async with runtime(clock) as found:
        yield found


@pytest.fixture
def tokens(cluster: AccountCluster, made: Runtime) -> AccountTokens:
    cluster.add("argo", "ci")
    return AccountTokens(accounts_of(cluster), made)


def hide_the_token(cluster: AccountCluster) -> None:
    (cluster.account / "token").unlink()


async def test_a_token_is_the_accounts_and_lives_an_hour(
    cluster: AccountCluster, tokens: AccountTokens, clock: FakeClock
) -> None:
    token = await tokens.token(CI)

    assert cluster.who(token) == "argo/ci"
    clock.advance(3599)
    assert cluster.who(token) == "argo/ci"
    clock.advance(2)
    assert cluster.who(token) == ""


async def test_an_account_without_a_namespace_is_in_the_sidecars_own(
    cluster: AccountCluster, tokens: AccountTokens
) -> None:
    cluster.add("argocd", "here")

    token = await tokens.token(ServiceAccount("", "here"))

    assert cluster.who(token) == "argocd/here"


async def test_however_many_ask_kubernetes_is_asked_once(
    cluster: AccountCluster, tokens: AccountTokens
) -> None:
    cluster.held = asyncio.Event()
    waiting = [asyncio.create_task(tokens.token(CI)) for _ in range(200)]
    await eventually(lambda: bool(cluster.requests_for))

    cluster.held.set()
    found = await asyncio.gather(*waiting)

    assert len(set(found)) == 1
    assert cluster.requests_for == ["argo/ci"]


async def test_who_leaves_while_a_token_is_asked_for_takes_it_from_nobody(
    cluster: AccountCluster, tokens: AccountTokens
) -> None:
    cluster.held = asyncio.Event()
    leaving, staying = (asyncio.create_task(tokens.token(CI)) for _ in range(2))
    await eventually(lambda: bool(cluster.requests_for))

    leaving.cancel()
    cluster.held.set()

    assert cluster.who(await staying) == "argo/ci"
    assert cluster.requests_for == ["argo/ci"]


async def test_a_known_token_is_the_same_object_without_a_question(
    cluster: AccountCluster, tokens: AccountTokens, clock: FakeClock
) -> None:
    first = await tokens.token(CI)
    clock.advance(0.79 * 3600)

    assert tokens.token_now(CI) is first
    assert cluster.requests_for == ["argo/ci"]


async def test_at_80_percent_of_its_life_it_is_renewed_behind_the_request(
    cluster: AccountCluster, tokens: AccountTokens, clock: FakeClock, made: Runtime
) -> None:
    first = await tokens.token(CI)
    clock.advance(0.8 * 3600)

    during = tokens.token_now(CI)
    await made.tasks.idle()
    after = tokens.token_now(CI)

    assert during is first
    assert after is not None
    assert after != first
    assert cluster.who(after) == "argo/ci"
    assert cluster.requests_for == ["argo/ci"] * 2


async def test_a_shorter_life_than_was_asked_for_is_what_counts(
    cluster: AccountCluster, tokens: AccountTokens, clock: FakeClock, made: Runtime
) -> None:
    cluster.most_seconds = 1000
    first = await tokens.token(CI)
    clock.advance(801)

    assert tokens.token_now(CI) is first
    await made.tasks.idle()

    assert tokens.token_now(CI) != first


async def test_while_it_cannot_be_renewed_a_good_token_goes_on_and_no_longer(
    cluster: AccountCluster, tokens: AccountTokens, clock: FakeClock, made: Runtime
) -> None:
    first = await tokens.token(CI)
    cluster.status = 503
    clock.advance(0.9 * 3600)

    assert tokens.token_now(CI) is first
    await made.tasks.idle()
    assert tokens.token_now(CI) is first
    clock.advance(0.06 * 3600)

    assert tokens.token_now(CI) is None
    with pytest.raises(MachineCredentialUnavailable):
        await tokens.token(CI)


async def test_after_a_failure_kubernetes_is_left_alone_for_a_moment(
    cluster: AccountCluster, tokens: AccountTokens, clock: FakeClock
) -> None:
    cluster.status = 500
    for _ in range(50):
        with pytest.raises(MachineCredentialUnavailable):
            await tokens.token(CI)
    assert cluster.requests_for == ["argo/ci"]

    cluster.status = 0
    clock.advance(kept.AGAIN_SECONDS)

    assert cluster.who(await tokens.token(CI)) == "argo/ci"


async def test_an_accounts_token_that_no_role_gives_names_what_to_grant(
    cluster: AccountCluster, tokens: AccountTokens, made: Runtime
) -> None:
    cluster.requestable.clear()

    with capture_logs() as lines, pytest.raises(MachineCredentialUnavailable) as told:
        await tokens.token(CI)

    (line,) = lines
    assert (line["event"], line["log_level"]) == ("machine_credential", "error")
    assert line["credential"] == "service account argo/ci"
    for part in ("in argo", "serviceaccounts/token", "[ci]", "[create]", "403"):
        assert part in line["error"]
    assert "argo/ci" in str(told.value)
    count = made.metrics.registry.get_sample_value
    assert count("argocd_token_refresh_alarms_total", {"kind": "machine_credential"}) == 1


@pytest.mark.parametrize(
    ("breaking", "said"),
    [
        pytest.param(lambda c: c.remove("argo", "ci"), "is not there (404)", id="no-account"),
        pytest.param(lambda c: setattr(c, "status", 401), "does not accept", id="own-token"),
        pytest.param(lambda c: setattr(c, "status", 500), "status 500", id="broken"),
        pytest.param(hide_the_token, "empty volume", id="hidden"),
    ],
)
async def test_each_failure_is_told_with_its_mend_and_no_token(
    cluster: AccountCluster,
    tokens: AccountTokens,
    breaking: Callable[[AccountCluster], object],
    said: str,
) -> None:
    breaking(cluster)

    with capture_logs() as lines, pytest.raises(MachineCredentialUnavailable):
        await tokens.token(CI)

    assert said in lines[0]["error"]
    assert f"Bearer {cluster.token}" not in str(lines)


async def test_an_api_that_never_answers_is_given_up(
    cluster: AccountCluster, made: Runtime
) -> None:
    cluster.add("argo", "ci")
    cluster.held = asyncio.Event()
    tokens = AccountTokens(accounts_of(cluster, list_seconds=0.05), made)

    with capture_logs() as lines, pytest.raises(MachineCredentialUnavailable):
        await tokens.token(CI)

    assert "no answer in time" in lines[0]["error"]
    cluster.held.set()


async def test_so_many_accounts_are_asked_for_at_a_time_and_no_more(
    cluster: AccountCluster, tokens: AccountTokens
) -> None:
    cluster.held = asyncio.Event()
    asked = [ServiceAccount("argo", f"ci-{i}") for i in range(kept.MOST_ASKED)]
    for each in asked:
        cluster.add(each.namespace, each.name)
    waiting = [asyncio.create_task(tokens.token(each)) for each in asked]
    await asyncio.sleep(0)

    with pytest.raises(MachineCredentialUnavailable, match="too many"):
        await tokens.token(CI)

    cluster.held.set()
    found = await asyncio.gather(*waiting)
    assert [cluster.who(token) for token in found] == [f"{a.namespace}/{a.name}" for a in asked]
    assert cluster.who(await tokens.token(CI)) == "argo/ci"


async def test_of_more_accounts_than_are_kept_the_one_asked_for_the_longest_ago_is_asked_anew(
    cluster: AccountCluster, made: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_tokens, "_MOST", 2)
    tokens = AccountTokens(accounts_of(cluster), made)
    accounts = [ServiceAccount("argo", f"ci-{i}") for i in range(3)]
    for each in accounts:
        cluster.add(each.namespace, each.name)

    for each in accounts:
        await tokens.token(each)

    assert [tokens.token_now(each) is not None for each in accounts] == [False, True, True]


async def test_a_token_is_asked_for_anew_only_where_the_one_in_use_was_refused(
    cluster: AccountCluster, tokens: AccountTokens
) -> None:
    token = await tokens.token(CI)

    tokens.refused(CI, "another")
    tokens.refused(TokenFile("/token"), token)
    assert tokens.token_now(CI) is token
    tokens.refused(CI, token)
    assert tokens.token_now(CI) is None


async def test_a_token_files_token_is_nobodys_here(tokens: AccountTokens) -> None:
    assert tokens.token_now(TokenFile("/token")) is None
    with pytest.raises(MachineCredentialUnavailable, match="token file /token"):
        await tokens.token(TokenFile("/token"))
