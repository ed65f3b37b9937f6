"""Argo CD's settings from the Kubernetes API, against a server that answers as it does."""

import asyncio
import json
import logging
import os
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from sidecar.adapters.argocd_objects import MAX_REFERENCED, ArgoCdObjects
from sidecar.adapters.kubernetes_api import MAX_BYTES, KubernetesApi
from sidecar.core.argocd_config import ArgoCdConfig, read_argocd_config
from sidecar.core.argocd_files import AWAITED, ArgoCdFiles, Finding, Weight
from sidecar.flows.tasks import Tasks
from tests.config.mounted import OIDC, STOCK
from tests.fakes.clock import FakeClock
from tests.fakes.kubernetes import NAMESPACE, Asked, Cluster, stock
from tests.proxy.certificates import self_signed
from tests.world import PacedClock, eventually

REFERRING = OIDC.replace("$oidc.clientSecret", "$sso:secret").encode()


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with stock(tmp_path / "account").running() as made:
        yield made


@asynccontextmanager
async def following(
    cluster: Cluster, *, clock: FakeClock | None = None, list_seconds: float = 10
) -> AsyncIterator[ArgoCdObjects]:
    """What the sidecar knows of the cluster; nothing is waited for."""
    clock, log = clock or PacedClock(), structlog.get_logger()
    tasks = Tasks(log)
    api = KubernetesApi(cluster.environ, cluster.account, NAMESPACE, list_seconds=list_seconds)
    source = ArgoCdObjects(
        api,
        start=lambda run, name: tasks.start_endless(run, name, clock),
        clock=clock,
        random=os.urandom,
        log=log,
    )
    source.begin()
    try:
        yield source
    finally:
        await tasks.aclose(seconds=1)
        source.close()


@pytest.fixture
async def source(cluster: Cluster) -> AsyncIterator[ArgoCdObjects]:
    """What the sidecar knows; everything is listed and watched."""
    async with following(cluster) as made:
        assert await made.known(10)
        await eventually(lambda: len(cluster.watched) == 6)
        yield made


async def is_well(source: ArgoCdObjects) -> None:
    """Until the detail of readiness has nothing to say."""
    async with asyncio.timeout(10):
        while await source.check() != "ok":  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def says(source: ArgoCdObjects, part: str) -> None:
    """Until the detail of readiness says so."""
    async with asyncio.timeout(10):
        while part not in await source.check():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def files(source: ArgoCdObjects) -> ArgoCdFiles:
    return source.read()[0]


def config(source: ArgoCdObjects) -> ArgoCdConfig:
    return read_argocd_config(files(source))


def client_secret(source: ArgoCdObjects) -> str:
    oidc = config(source).oidc
    return oidc.client_secret if oidc else ""


def url(source: ArgoCdObjects) -> str:
    return config(source).url


def found_wrong(source: ArgoCdObjects) -> list[Finding]:
    found, unread = source.read()
    return [*unread, *read_argocd_config(found).findings]


async def test_what_the_cluster_has_is_read(source: ArgoCdObjects) -> None:
    found, unread = source.read()

    assert list(unread) == []
    assert found.cm == STOCK["argocd-cm"]
    assert found.secret == STOCK["argocd-secret"]
    assert found.params == STOCK["argocd-cmd-params-cm"]
    assert found.others["argocd-redis"].data == STOCK["secrets/argocd-redis"]
    assert found.others["argocd-server-tls"].data == {}
    assert client_secret(source) == "hunter2"
    await is_well(source)


async def test_only_the_objects_that_are_needed_are_asked_for_each_by_its_name(
    source: ArgoCdObjects, cluster: Cluster
) -> None:
    config_maps = ["argocd-cm", "argocd-cmd-params-cm", "argocd-rbac-cm"]
    secrets = ["argocd-redis", "argocd-secret", "argocd-server-tls"]
    assert sorted({asked.name for asked in cluster.asked}) == [*config_maps, *secrets]


async def test_the_claims_that_policies_go_by_are_followed(
    source: ArgoCdObjects, cluster: Cluster
) -> None:
    assert files(source).rbac is None

    cluster.apply("argocd-rbac-cm", {"scopes": b"[roles]"})

    await eventually(lambda: config(source).groups_claims == ("roles",))


async def test_a_role_without_them_stops_nothing(cluster: Cluster) -> None:
    cluster.forbidden = {"argocd-rbac-cm"}
    async with following(cluster) as source:
        assert await source.known(10)

        [finding] = source.read()[1]

        assert (finding.weight, finding.where) == (Weight.NOTE, "argocd-rbac-cm")
        assert "resourceNames [argocd-rbac-cm]" in finding.sentence
        assert config(source).groups_claims == ()


async def test_a_change_is_known_within_a_second(source: ArgoCdObjects, cluster: Cluster) -> None:
    before, began = source.signature(), time.monotonic()

    cluster.apply("argocd-secret", {"oidc.clientSecret": b"another"})

    await eventually(lambda: client_secret(source) == "another")
    assert time.monotonic() - began < 1
    assert source.signature() != before


async def test_what_is_taken_away_is_gone_and_may_come_back(
    source: ArgoCdObjects, cluster: Cluster
) -> None:
    cluster.delete("argocd-cm")
    await eventually(lambda: files(source).cm is None)
    assert "See that it is in argocd" in str(found_wrong(source)[0])

    cluster.apply("argocd-cm", dict(STOCK["argocd-cm"]))
    await eventually(lambda: url(source) != "")


async def test_a_watch_that_ended_goes_on_where_it_was(
    source: ArgoCdObjects, cluster: Cluster
) -> None:
    for number in range(3):
        await eventually(lambda: len(cluster.watched) == 6)
        cluster.end_watches()
        # It happens while nobody watches.
        cluster.apply("argocd-cm", {"url": f"https://{number}.example.org".encode()})

        await eventually(lambda n=number: url(source) == f"https://{n}.example.org")  # type: ignore[misc]

    assert cluster.lists("argocd-cm") == 1
    await is_well(source)


async def test_a_watch_goes_on_from_its_bookmark(source: ArgoCdObjects, cluster: Cluster) -> None:
    cluster.bookmark()
    cluster.end_watches()
    cluster.forget_before_bookmark()
    cluster.apply("argocd-cm", {"url": b"https://new.example.org"})

    await eventually(lambda: url(source) == "https://new.example.org")

    assert cluster.lists("argocd-cm") == 1


@pytest.mark.parametrize("by_status", [False, True])
async def test_a_version_that_is_gone_is_listed_again(
    source: ArgoCdObjects, cluster: Cluster, by_status: bool
) -> None:
    if by_status:
        cluster.status = 410
        cluster.end_watches()
        await eventually(lambda: cluster.lists("argocd-cm") > 1)
        cluster.status = 0
    cluster.apply("argocd-cm", {"url": b"https://new.example.org"})
    cluster.forget()
    cluster.end_watches()

    await eventually(lambda: cluster.lists("argocd-cm") > 1 and len(cluster.watched) == 6)
    await eventually(lambda: url(source) == "https://new.example.org")
    await is_well(source)
    cluster.apply("argocd-cm", {"url": b"https://newer.example.org"})
    await eventually(lambda: url(source) == "https://newer.example.org")


async def test_a_broken_connection_is_made_again(source: ArgoCdObjects, cluster: Cluster) -> None:
    cluster.status = 500
    cluster.end_watches()
    await says(source, "answers with status 500")
    assert client_secret(source) == "hunter2"  # what is known goes on
    assert not source.read()[1]

    cluster.status = 0
    cluster.apply("argocd-secret", {"oidc.clientSecret": b"another"})

    await eventually(lambda: client_secret(source) == "another")
    await is_well(source)


async def test_failures_are_asked_again_after_ever_longer_pauses_that_differ(
    cluster: Cluster,
) -> None:
    cluster.status = 503
    clock = PacedClock()
    async with following(cluster, clock=clock):
        await eventually(lambda: len(clock.slept) > 60)

    assert all(0.25 <= pause <= 30 for pause in clock.slept)
    assert max(clock.slept[:5]) <= 0.5
    assert min(clock.slept[50:]) >= 15
    assert len(set(clock.slept)) > 20


async def test_what_may_not_be_read_is_said_with_the_rule_that_the_role_lacks(
    cluster: Cluster,
) -> None:
    cluster.forbidden = {"argocd-secret"}
    with capture_logs() as lines:
        async with following(cluster) as source:
            assert await source.known(10)
            (finding,) = source.read()[1]
            assert finding.where == "argocd-secret"
            assert finding.weight is Weight.DOUBTFUL
            assert "resources [secrets], resourceNames [argocd-secret]" in finding.sentence
            assert "verbs [list, watch]" in finding.sentence
            assert files(source).secret is None
            assert url(source) == "https://argocd.example.org"  # the others are read
            await says(source, "argocd-secret may not be read (403)")

            await eventually(lambda: cluster.lists("argocd-secret") > 3)
            cluster.forbidden = set()

            await eventually(lambda: client_secret(source) == "hunter2")
            assert not source.read()[1]
    said = [line for line in lines if line["event"] == "kubernetes_api"]
    assert [line["object"] for line in said] == ["argocd-secret"]  # once, though asked again


async def test_what_may_no_longer_be_read_stays_known_and_is_said(
    source: ArgoCdObjects, cluster: Cluster
) -> None:
    cluster.forbidden = {"argocd-secret"}
    cluster.end_watches()

    await eventually(lambda: bool(source.read()[1]))

    (finding,) = source.read()[1]
    assert (finding.where, finding.weight) == ("argocd-secret", Weight.DOUBTFUL)  # no change counts
    assert client_secret(source) == "hunter2"


async def test_a_rotated_token_is_used(source: ArgoCdObjects, cluster: Cluster) -> None:
    cluster.rotate_token("second")
    cluster.end_watches()
    cluster.apply("argocd-cm", {"url": b"https://new.example.org"})

    await eventually(lambda: url(source) == "https://new.example.org")
    await is_well(source)


async def test_a_token_that_is_not_taken_is_said(source: ArgoCdObjects, cluster: Cluster) -> None:
    cluster.token = "another"
    cluster.end_watches()

    await says(source, "does not accept the service account's token (401)")


async def test_a_token_that_is_hidden_is_said(source: ArgoCdObjects, cluster: Cluster) -> None:
    (cluster.account / "token").unlink()
    cluster.end_watches()
    await says(source, "Take the empty volume")

    cluster.rotate_token("second")
    await eventually(lambda: len(cluster.watched) == 6)


async def test_a_secret_that_is_referred_to_is_read_with_its_label(cluster: Cluster) -> None:
    cluster.apply("argocd-cm", {"oidc.config": REFERRING})
    cluster.apply("sso", {"secret": b" of its own\n"})
    async with following(cluster) as source:
        assert await source.known(10)
        assert client_secret(source) == "of its own"

        cluster.apply("sso", {"secret": b"rotated"})
        await eventually(lambda: client_secret(source) == "rotated")


async def test_a_secret_without_the_label_is_not_looked_into_as_by_argo_cd(
    cluster: Cluster,
) -> None:
    cluster.apply("argocd-cm", {"oidc.config": REFERRING})
    cluster.apply("sso", {"secret": b"of its own"}, labels={})
    async with following(cluster) as source:
        assert await source.known(10)
        assert client_secret(source) == "$sso:secret"
        (finding,) = found_wrong(source)
        assert "which Argo CD does not look into. Label it" in str(finding)

        cluster.apply("sso", {})  # with the label
        await eventually(lambda: client_secret(source) == "of its own")


async def test_dexs_certificate_is_read_where_argo_cd_checks_it_strictly(
    source: ArgoCdObjects, cluster: Cluster
) -> None:
    cluster.apply("argocd-dex-server-tls", {"ca.crt": b"an authority"})
    assert "argocd-dex-server-tls" not in files(source).others

    cluster.apply("argocd-cmd-params-cm", {"server.dex.server.strict.tls": b"true"})

    await eventually(lambda: "argocd-dex-server-tls" in files(source).others)
    assert files(source).others["argocd-dex-server-tls"].data["ca.crt"] == b"an authority"


async def test_a_new_reference_is_not_seen_without_its_secret(
    source: ArgoCdObjects, cluster: Cluster
) -> None:
    cluster.apply("sso", {"secret": b"of its own"})
    cluster.apply("argocd-cm", {"oidc.config": REFERRING})

    states = {}
    async with asyncio.timeout(10):
        while "sso" not in files(source).others:
            states[source.signature()] = client_secret(source)
            known = source.signature()
            while source.signature() == known:  # noqa: ASYNC110 - each state counts
                await asyncio.sleep(0)

    assert set(states.values()) == {"hunter2"}
    assert client_secret(source) == "of its own"


async def test_a_referenced_secret_may_come_later(source: ArgoCdObjects, cluster: Cluster) -> None:
    cluster.apply("argocd-cm", {"oidc.config": REFERRING})
    await eventually(lambda: client_secret(source) == "$sso:secret")  # as it is for Argo CD
    assert "a key that the Secret sso does not have" in str(found_wrong(source)[0])

    cluster.apply("sso", {"secret": b"of its own"})
    await eventually(lambda: client_secret(source) == "of its own")
    assert found_wrong(source) == []


async def test_a_referenced_secret_that_may_not_be_read_holds_up_no_change(
    source: ArgoCdObjects, cluster: Cluster
) -> None:
    cluster.forbidden = {"sso"}
    cluster.apply("argocd-cm", {"oidc.config": REFERRING})
    await eventually(lambda: client_secret(source) == "$sso:secret")

    told = [str(finding) for finding in found_wrong(source)]
    assert "sso may not be read (403)" in told[0]
    assert "which cannot be seen. See that it is in argocd" in told[1]


async def test_what_is_referred_to_no_longer_is_watched_no_longer(
    source: ArgoCdObjects, cluster: Cluster
) -> None:
    cluster.apply("argocd-cm", {"oidc.config": REFERRING})
    await eventually(lambda: "sso" in cluster.watched)

    cluster.apply("argocd-cm", dict(STOCK["argocd-cm"]))
    await eventually(lambda: "sso" not in cluster.watched)


async def test_a_reference_to_what_can_be_no_name_is_not_followed(
    source: ArgoCdObjects, cluster: Cluster
) -> None:
    cluster.apply("argocd-cm", {"oidc.config": OIDC.encode() + b"name: $../x,a=b:c\n"})
    cluster.apply("argocd-secret", {"oidc.clientSecret": b"another"})

    await eventually(lambda: client_secret(source) == "another")
    assert len({asked.name for asked in cluster.asked}) == 6


async def test_references_are_bounded(source: ArgoCdObjects, cluster: Cluster) -> None:
    many = "".join(f"key{number}: $sso{number}:secret\n" for number in range(MAX_REFERENCED + 5))
    cluster.apply("argocd-cm", {"oidc.config": OIDC.encode() + many.encode()})

    await eventually(lambda: len(cluster.watched) == 6 + MAX_REFERENCED)
    assert any("refers to more than" in str(finding) for finding in source.read()[1])


async def test_an_argocd_cm_without_the_label_is_said(
    source: ArgoCdObjects, cluster: Cluster
) -> None:
    cluster.apply("argocd-cm", {}, labels={})

    await eventually(lambda: bool(source.read()[1]))
    assert "Argo CD does not see it. Label it" in str(source.read()[1][0])


async def test_an_api_that_is_away_at_the_start_is_waited_for(tmp_path: Path) -> None:
    cluster = stock(tmp_path / "account")
    async with cluster.running():
        pass  # now it has a port, where nobody listens
    async with following(cluster) as source:
        assert not await source.known(0.2)
        assert files(source).awaited
        assert list(source.read()[1]) == [AWAITED]
        await says(source, "cannot be reached")

        async with cluster.running():
            assert await source.known(10)
            assert not files(source).awaited
            assert client_secret(source) == "hunter2"


async def test_a_slow_answer_is_not_waited_for_for_ever(cluster: Cluster) -> None:
    cluster.silent = True
    async with following(cluster, list_seconds=0.1) as source:
        await says(source, "gives no answer in time")

        cluster.silent = False
        assert await source.known(10)


NOT_UNDERSTOOD = {
    "html": b"<html>hunter2</html>",
    "list": b"[]",
    "nothing": b"null",
    "no version": b'{"items": [], "metadata": {}}',
    "items": b'{"items": {"a": 1}, "metadata": {"resourceVersion": "1"}}',
    "deep": b"[" * 100_000,
    "long": b'{"items": [], "metadata": {"resourceVersion": "1"}}' + b" " * MAX_BYTES,
}


@pytest.mark.parametrize("body", NOT_UNDERSTOOD.values(), ids=NOT_UNDERSTOOD.keys())
async def test_an_answer_that_is_none_is_asked_for_again(cluster: Cluster, body: bytes) -> None:
    cluster.body = body
    async with following(cluster) as source:
        await says(source, "is not understood")
        await eventually(lambda: len(cluster.asked) > 10)
        assert not await source.known(0)

        cluster.body = None
        assert await source.known(10)


def event_of_secret(value: str) -> bytes:
    metadata = {"name": "argocd-secret", "resourceVersion": "9999"}
    changed = {"metadata": metadata, "data": {"oidc.clientSecret": value}}
    return json.dumps({"type": "MODIFIED", "object": changed}).encode() + b"\n"


NO_EVENTS = {
    "no JSON": b"hunter2\n",
    "no object": b'{"type": "ADDED"}\n',
    "another": b'{"type": "ADDED", "object": {"metadata": {"name": "another"}}}\n',
    "no base64": event_of_secret("%"),
    "long": b" " * 3 * MAX_BYTES + event_of_secret("dG9vIGxvbmc="),
    "error": b'{"type": "ERROR", "object": {"code": 500}}\n',
}


@pytest.mark.parametrize("line", NO_EVENTS.values(), ids=NO_EVENTS.keys())
async def test_an_event_that_is_none_changes_nothing(
    source: ArgoCdObjects, cluster: Cluster, line: bytes
) -> None:
    cluster.instead = [line] * 5
    cluster.end_watches()
    await eventually(lambda: not cluster.instead and len(cluster.watched) == 6)
    assert client_secret(source) == "hunter2"

    cluster.apply("argocd-secret", {"oidc.clientSecret": b"another"})
    await eventually(lambda: client_secret(source) == "another")


async def test_a_certificate_is_a_file_that_changes(
    source: ArgoCdObjects, cluster: Cluster, tmp_path: Path
) -> None:
    marks = []
    for name in ("a-long-name-of-a-host.example.org", "short.org"):
        self_signed(tmp_path / name, name)
        pair = {key: (tmp_path / name / key).read_bytes() for key in ("tls.crt", "tls.key")}
        cluster.apply("argocd-server-tls", pair)
        await eventually(
            lambda pair=pair: files(source).others["argocd-server-tls"].data == pair  # type: ignore[misc]
        )

        assert config(source).certificate_in == "argocd-server-tls"
        paths = [source.file("argocd-server-tls", key) for key in pair]
        assert [os.stat(path).st_size for path in paths] == list(map(len, pair.values()))
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*paths)
        marks.append([(path, os.stat(path).st_mtime_ns) for path in paths])

    assert [path for path, _ in marks[0]] == [path for path, _ in marks[1]]
    assert marks[0] != marks[1]


async def test_nothing_of_a_secret_is_logged_whatever_goes_wrong(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with capture_logs() as lines:
        async with following(cluster) as source:
            assert await source.known(10)
            for number, broken in enumerate((401, 403, 410, 500), start=1):
                cluster.status = broken
                cluster.end_watches()
                await eventually(lambda n=number: len(cluster.asked) > 20 * n)  # type: ignore[misc]
            cluster.instead = [b'{"type": "ADDED", "object": "hunter2"}\n'] * 5
            cluster.status = 0
            await eventually(lambda: not cluster.instead)
            cluster.rotate_token("bad\ntoken")
            cluster.end_watches()
            await eventually(lambda: cluster.watched == [])
            told = await source.check()
    assert len(lines) > 5
    everything = f"{lines}{caplog.text}{told}{source.read()[0]!r}"
    for secret in ("hunter", "first", "bad\ntoken", "Bearer"):
        assert secret not in everything


async def test_a_request_asks_for_one_object_from_the_version_of_its_list(
    source: ArgoCdObjects, cluster: Cluster
) -> None:
    of_cm = [asked for asked in cluster.asked if asked.name == "argocd-cm"]

    assert of_cm == [Asked("argocd-cm", False, ""), Asked("argocd-cm", True, "104")]
