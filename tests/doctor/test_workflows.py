"""`sidecar doctor` in front of Argo Workflows: each thing that can be wrong, with its mend."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from sidecar.app import SystemClock
from sidecar.demo.oauth import ProviderSettings
from sidecar.doctor.findings import Finding, Level
from sidecar.doctor.run import examine
from tests.doctor.test_upstream import server
from tests.fakes.argo_server import ArgoServer, ArgoServerSettings
from tests.fakes.service_accounts import AccountCluster
from tests.workflows.place import RememberingProvider
from tests.world import free_port, system_now


@dataclass
class Patient:
    """argo-server in good health, a cluster, and rules that lead to one account."""

    argo: ArgoServer
    cluster: AccountCluster
    file: Path
    address: str

    async def findings(self, **changes: str) -> list[Finding]:
        environ = {
            "SIDECAR_UPSTREAM_KIND": "argo-workflows",
            "SIDECAR_PUBLIC_URL": "https://workflows.example.org",
            "SIDECAR_UPSTREAM": self.address,
            "SIDECAR_MACHINE_RULES": str(self.file),
            **{k: v for k, v in self.cluster.environ.items() if k.startswith("KUBERNETES")},
            **changes,
        }
        return await examine(
            {k: v for k, v in environ.items() if v}, SystemClock(), account=self.cluster.account
        )

    async def complaints(self, **changes: str) -> dict[str, Finding]:
        found = await self.findings(**changes)
        return {each.id: each for each in found if each.level is not Level.OK}

    def write(self, rules: dict[str, Any]) -> None:
        issuer = {"name": "ci", "issuer": "https://ci.example", "audiences": ["argo"]}
        self.file.write_text(json.dumps({"issuers": [issuer], **rules}))


@pytest.fixture
async def patient(tmp_path: Path) -> AsyncIterator[Patient]:
    cluster = AccountCluster(tmp_path / "account", now=system_now)
    cluster.add("argo", "ci", rbac_rule="true")
    provider = RememberingProvider(ProviderSettings(), now=system_now)
    async with cluster.running(), provider.running() as issuer:
        argo = ArgoServer(ArgoServerSettings(issuer=issuer), now=system_now, who=cluster.who)
        async with argo.running() as address:
            made = Patient(argo, cluster, tmp_path / "rules.yaml", address)
            rule = {"name": "ci", "if": "true", "service_account": "argo/ci"}
            made.write({"rules": [rule]})
            yield made


async def test_doctor_finds_nothing_wrong_with_a_healthy_one(patient: Patient) -> None:
    found = await patient.findings()

    assert {each.level for each in found} == {Level.OK}
    assert "service account argo/ci: can be used" in [each.what for each in found]
    assert patient.cluster.requests_for == ["argo/ci"]


async def test_doctor_finds_an_argo_server_that_is_away(patient: Patient) -> None:
    found = await patient.complaints(SIDECAR_UPSTREAM=f"http://127.0.0.1:{free_port()}")

    assert set(found) == {"upstream.reach"}
    assert "SIDECAR_UPSTREAM" in found["upstream.reach"].mend


async def test_doctor_finds_what_is_not_argo_server(patient: Patient) -> None:
    async with server(lambda _: web.Response(text="Welcome to nginx!")) as address:
        found = await patient.complaints(SIDECAR_UPSTREAM=address)

    assert "not argo-server" in found["upstream.reach"].what


async def test_doctor_finds_the_mode_that_machines_need(patient: Patient) -> None:
    patient.argo.settings.modes = ("sso",)

    found = await patient.complaints()

    assert set(found) == {"upstream.modes"}
    assert found["upstream.modes"].level is Level.FAULT
    assert "--auth-mode=client" in found["upstream.modes"].mend


async def test_doctor_asks_for_no_such_mode_where_there_are_no_machines(patient: Patient) -> None:
    patient.argo.settings.modes = ("sso",)

    assert not await patient.complaints(SIDECAR_MACHINE_RULES="")


async def test_doctor_finds_a_door_that_is_open_to_everybody(patient: Patient) -> None:
    patient.argo.settings.modes = ("server", "client")

    found = await patient.complaints()

    assert "--auth-mode=server" in found["upstream.modes"].what


async def test_doctor_finds_an_account_whose_token_no_role_gives(patient: Patient) -> None:
    patient.cluster.requestable.clear()

    found = await patient.complaints()

    assert set(found) == {"machines.accounts"}
    assert found["machines.accounts"].what == "service account argo/ci gives no token (403)"
    assert "resourceNames [ci]" in found["machines.accounts"].mend


async def test_doctor_finds_annotations_that_cannot_be_read(patient: Patient) -> None:
    patient.write({"annotated_service_accounts": {"namespace": "argo"}})
    patient.cluster.listable.clear()

    found = await patient.complaints()

    assert "resources [serviceaccounts]" in found["machines.accounts"].mend


async def test_doctor_asks_for_the_tokens_of_annotated_accounts(patient: Patient) -> None:
    patient.write({"annotated_service_accounts": {"namespace": "argo"}})
    patient.cluster.requestable.clear()

    found = await patient.complaints()

    assert "argo/ci" in found["machines.accounts"].what


async def test_doctor_finds_a_namespace_in_which_no_account_is_annotated(patient: Patient) -> None:
    patient.cluster.add("empty", "default")
    patient.write({"annotated_service_accounts": {"namespace": "empty"}})

    found = await patient.complaints()

    assert "have no rule" in found["machines.accounts"].what


async def test_doctor_says_so_outside_of_kubernetes(patient: Patient) -> None:
    found = await patient.complaints(KUBERNETES_SERVICE_HOST="")

    assert "no Kubernetes API here" in found["machines.accounts"].what
