"""The Kubernetes API with the pod's own service account: one object, listed and watched.

kubernetes-asyncio makes the requests; what is answered is read here, within bounds. Its own reading
makes a model of everything, and writes whole answers, secrets too, into its log at level debug.
"""

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
)
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientError, ClientResponse, ClientTimeout
from kubernetes_asyncio.client import ApiClient, Configuration, CoreV1Api
from kubernetes_asyncio.config import ConfigException
from kubernetes_asyncio.config.incluster_config import InClusterConfigLoader

from sidecar.core.kubernetes_objects import (
    MEND_HIDDEN,
    Event,
    Item,
    Kind,
    NotUnderstood,
    read_event,
    read_list,
)
from sidecar.errors import KubernetesApiFailed, KubernetesApiRefused, VersionGone

LIST_SECONDS = 5.0
# A connection that died without a word is noticed after this; the API ends the watch by itself.
WATCH_SECONDS = 60
MAX_BYTES = 4 * 1024 * 1024  # an object has 1.5 MiB at most, a third more in base64


class KubernetesApi:
    """The API at the address that Kubernetes gives to pods, in one namespace."""

    def __init__(
        self,
        environ: Mapping[str, str],
        account: Path,
        namespace: str,
        *,
        list_seconds: float = LIST_SECONDS,
    ) -> None:
        self._environ = dict(environ)
        self._list_seconds = list_seconds
        self._account = account
        self.namespace = namespace

    @asynccontextmanager
    async def connected(self, kind: Kind, name: str) -> AsyncIterator["Connection"]:
        """A connection for one object, with token and authorities as their files have them now.

        Raises:
            KubernetesApiFailed: they cannot be read.
        """
        async with self.client() as client:
            yield Connection(client, self.namespace, kind, name, self._list_seconds)

    @property
    def within(self) -> ClientTimeout:
        """How long an answer may take that is no watch."""
        return ClientTimeout(total=self._list_seconds)

    def client(self) -> ApiClient:
        """A client, to be closed soon, with token and authorities as their files have them now.

        Raises:
            KubernetesApiFailed: they cannot be read.
        """
        configuration = Configuration()
        loader = InClusterConfigLoader(
            str(self._account / "token"),
            str(self._account / "ca.crt"),
            try_refresh_token=False,  # a client lives for one watch
            environ=self._environ,
        )
        # Authorities of clusters often lack what Python 3.13 and later ask of them beyond RFC 5280.
        configuration.disable_strict_ssl_verification = True
        try:
            loader.load_and_set(configuration)
            client = ApiClient(configuration)
        except (ConfigException, OSError, ValueError) as error:
            why = str(error).rstrip(".") if isinstance(error, ConfigException) else "unreadable"
            raise KubernetesApiFailed(
                f"cannot be read: the service account in {self._account} is not there ({why}). "
                f"{MEND_HIDDEN}"
            ) from None
        client.user_agent = "argocd-token-refresh"
        return client


class Connection:
    """What the API says of one object."""

    def __init__(
        self, client: ApiClient, namespace: str, kind: Kind, name: str, list_seconds: float
    ) -> None:
        core = CoreV1Api(client)
        secret = kind is Kind.SECRET
        self._ask = core.list_namespaced_secret if secret else core.list_namespaced_config_map
        self._namespace = namespace
        self._kind = kind
        self._name = name
        self._list_seconds = list_seconds

    async def list(self) -> tuple[Item | None, str]:
        """The object, None where there is none, and the version to watch from.

        Raises:
            KubernetesApiFailed: the API does not say.
        """
        with failures():
            async with self._answer(ClientTimeout(total=self._list_seconds)) as answer:
                return read_list(await whole(answer), self._kind, self._name)

    async def watch(self, version: str) -> AsyncGenerator[Event, None]:
        """What happens to the object, until the API ends the watch; first, that it watches.

        Raises:
            VersionGone: it does not know any more what happened since this version.
            KubernetesApiFailed: the API does not say.
        """
        most = self._list_seconds
        within = ClientTimeout(total=WATCH_SECONDS + most, sock_connect=most)
        asked = {
            "watch": True,
            "resource_version": version,
            "allow_watch_bookmarks": True,
            "timeout_seconds": WATCH_SECONDS,
        }
        with failures():
            async with self._answer(within, **asked) as answer:
                yield Event(version)
                async for line in _lines(answer):
                    event = read_event(line, self._kind, self._name)
                    if event.code:
                        raise self._failure(event.code)
                    yield event

    @asynccontextmanager
    async def _answer(self, within: ClientTimeout, **asked: Any) -> AsyncIterator[ClientResponse]:
        ask: Callable[..., Awaitable[Any]] = self._ask  # its types say what it would make of it
        answer: ClientResponse = await ask(
            self._namespace,
            # By its name: so a Role may name what it lets be read, and nothing else comes.
            field_selector=f"metadata.name={self._name}",
            _preload_content=False,
            _request_timeout=within,
            **asked,
        )
        async with answer:
            if answer.status != 200:
                raise self._failure(answer.status)
            yield answer

    def _failure(self, status: int) -> KubernetesApiFailed:
        if status == 410:
            return VersionGone("has changed more than the Kubernetes API remembers")
        if status == 403:
            return KubernetesApiRefused(
                f"may not be read (403). Give the pod's service account a Role in "
                f"{self._namespace} with apiGroups [''], resources [{self._kind}], "
                f"resourceNames [{self._name}] and verbs [list, watch]"
            )
        return unexpected(status)


@contextmanager
def failures() -> Iterator[None]:
    """What goes wrong inside, as errors of ours."""
    try:
        yield
    except NotUnderstood as error:
        raise _failed(f"is not understood: {error}") from None
    except TimeoutError:
        raise _failed("gives no answer in time") from None
    except (ClientError, OSError, ValueError) as error:
        # Not chained: it may show the request's headers, and so the token.
        raise _failed(f"cannot be reached ({type(error).__name__})") from None


def unexpected(status: int) -> KubernetesApiFailed:
    """What a status means that nobody counts on."""
    if status == 401:
        return _failed(
            "does not accept the service account's token (401). Restart the pod if that stays"
        )
    return _failed(f"answers with status {status}")


def _failed(sentence: str) -> KubernetesApiFailed:
    return KubernetesApiFailed(f"cannot be read: the Kubernetes API {sentence}")


async def whole(answer: ClientResponse) -> bytes:
    """An answer's body.

    Raises:
        NotUnderstood: it is longer than any that is taken.
    """
    found = bytearray()
    async for chunk in answer.content.iter_any():
        found += chunk
        if len(found) > MAX_BYTES:
            raise NotUnderstood("the answer is too long")
    return bytes(found)


async def _lines(answer: ClientResponse) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in answer.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield line
        if len(rest) > MAX_BYTES:
            raise NotUnderstood("an event is too long")
