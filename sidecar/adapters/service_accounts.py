"""Service accounts by the Kubernetes API: those of a namespace, and their short-lived tokens."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from aiohttp import ClientResponse
from kubernetes_asyncio.client import CoreV1Api

from sidecar.adapters.kubernetes_api import KubernetesApi, failures, unexpected, whole
from sidecar.core.kubernetes_objects import AccountItem, NotUnderstood, read_accounts, read_token
from sidecar.errors import KubernetesApiFailed, KubernetesApiRefused
from sidecar.ports import AccountToken

_OK = (200, 201)


class KubernetesAccounts:
    """`ServiceAccounts` with the pod's own service account."""

    def __init__(self, api: KubernetesApi, *, now: Callable[[], float]) -> None:
        self._api = api
        self._now = now
        self.namespace = api.namespace

    async def accounts(self, namespace: str) -> list[AccountItem]:
        """All service accounts of a namespace.

        Raises:
            KubernetesApiFailed: the API does not say.
        """

        def ask(core: CoreV1Api, **options: Any) -> Any:
            return core.list_namespaced_service_account(namespace, **options)

        refused = (
            f"may not be listed (403). Give the sidecar's service account a Role in {namespace} "
            "with apiGroups [''], resources [serviceaccounts] and verbs [get, list]"
        )
        async with self._answer(ask, refused) as answer:
            return read_accounts(await whole(answer))

    async def token(self, namespace: str, name: str, *, seconds: int) -> AccountToken:
        """A new token by TokenRequest (authentication.k8s.io/v1), for the API server's audience.

        Raises:
            KubernetesApiFailed: the API gives none.
        """
        asked_at = self._now()
        body: Any = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": seconds},
        }

        def ask(core: CoreV1Api, **options: Any) -> Any:
            return core.create_namespaced_service_account_token(name, namespace, body, **options)

        refused = (
            f"gives no token (403). Give the sidecar's service account a Role in {namespace} with "
            "apiGroups [''], resources [serviceaccounts/token], "
            f"resourceNames [{name}] and verbs [create]"
        )
        missing = f"is not there (404). Create it in {namespace}, or correct the rule"
        async with self._answer(ask, refused, missing) as answer:
            token, ends = read_token(await whole(answer))
            return AccountToken(token, _instant(ends) - asked_at)

    @asynccontextmanager
    async def _answer(
        self, ask: Callable[..., Any], refused: str, missing: str = ""
    ) -> AsyncIterator[ClientResponse]:
        with failures():
            async with self._api.client() as client:
                core = CoreV1Api(client)
                within = self._api.within
                answer = await ask(core, _preload_content=False, _request_timeout=within)
                async with answer:
                    if answer.status not in _OK:
                        raise _failure(answer.status, refused, missing)
                    yield answer


def _failure(status: int, refused: str, missing: str) -> KubernetesApiFailed:
    if status == 403:
        return KubernetesApiRefused(refused)
    if status == 404 and missing:
        return KubernetesApiFailed(missing)
    return unexpected(status)


def _instant(written: str) -> float:
    try:
        return datetime.fromisoformat(written).timestamp()
    except (ValueError, OverflowError):
        raise NotUnderstood("the token's end is no time") from None
