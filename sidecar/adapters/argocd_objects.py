"""Argo CD's settings from the Kubernetes API: the latest state that is whole."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from structlog.typing import FilteringBoundLogger

from sidecar.adapters.kubernetes_api import KubernetesApi
from sidecar.adapters.kubernetes_follower import Follower
from sidecar.adapters.memory_files import MemoryFile
from sidecar.core.argocd_dex import STRICT_TLS, is_on
from sidecar.core.argocd_files import (
    AWAITED,
    CM,
    DEX_TLS_SECRET,
    PARAMS,
    RBAC,
    REDIS_SECRET,
    SECRET,
    TLS_SECRET,
    ArgoCdFiles,
    Finding,
    Secret,
    Weight,
)
from sidecar.core.argocd_references import referenced_secrets
from sidecar.core.kubernetes_objects import PART_OF, Item, Kind
from sidecar.ports import Clock

MAX_REFERENCED = 16  # each is a connection to the API
_ALWAYS = {
    CM: Kind.CONFIG_MAP,
    PARAMS: Kind.CONFIG_MAP,
    RBAC: Kind.CONFIG_MAP,
    SECRET: Kind.SECRET,
    REDIS_SECRET: Kind.SECRET,
    TLS_SECRET: Kind.SECRET,
}
_WITH_CERTIFICATE = (TLS_SECRET, SECRET)
_PAIR = ("tls.crt", "tls.key")


@dataclass(frozen=True, slots=True)
class _State:
    """What is known, all of it at one time; `number` is another whenever it is."""

    files: ArgoCdFiles
    findings: tuple[Finding, ...]
    number: int = 0


class ArgoCdObjects:
    """Follows each ConfigMap and Secret by its name, and those that the settings refer to.

    A state is given out when the API has said of each what it is, or that it may not be read: a
    new reference is not seen without its Secret.
    """

    def __init__(
        self,
        api: KubernetesApi,
        *,
        start: Callable[[Callable[[], Coroutine[Any, Any, None]], str], asyncio.Task[None]],
        clock: Clock,
        random: Callable[[int], bytes],
        log: FilteringBoundLogger,
    ) -> None:
        self._api = api
        self._start = start
        self._clock = clock
        self._random = random
        self._log = log
        self._state = _State(ArgoCdFiles(namespace=api.namespace, awaited=True), (AWAITED,))
        self._assumed: dict[str, bytes] | None = None
        self._known = asyncio.Event()
        self._followers: dict[str, Follower] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._certificates: dict[tuple[str, str], MemoryFile] = {}

    # What a configuration is loaded from

    def read(self) -> tuple[ArgoCdFiles, Sequence[Finding]]:
        """The latest state, and what of it cannot be read."""
        state = self._state
        return state.files, state.findings

    def signature(self) -> tuple[object, ...]:
        """What changes when the state does."""
        return (self._state.number,)

    def file(self, secret: str, key: str) -> str:
        """Where a part of a certificate is as a file, in memory."""
        return self._certificates[secret, key].path

    async def check(self) -> str:
        """What is wrong with the API, for the detail of readiness."""
        followers = self._followers.values()
        return "; ".join(f"{each.name} {each.wrong}" for each in followers if each.wrong) or "ok"

    # Its life

    def begin(self) -> None:
        """Begin to follow; whoever owns the tasks ends it."""
        for name in _ALWAYS:
            self._follow(name)

    async def known(self, seconds: float) -> bool:
        """Whether there is a state, waited for until then."""
        try:
            async with asyncio.timeout(seconds):
                return await self._known.wait()
        except TimeoutError:
            return False

    @property
    def knows_upstream(self) -> bool:
        """Whether it is known, or assumed, how `argocd-server` is spoken to."""
        return self._assumed is not None or self._followers[PARAMS].listed

    def assume(self, *, insecure: bool) -> None:
        """What `argocd-server` was seen to do counts until its settings can be read."""
        self._assumed = {"server.insecure": str(insecure).lower().encode()}
        if self._known.is_set():
            self._changed()
        else:
            files = ArgoCdFiles(params=self._assumed, namespace=self._api.namespace, awaited=True)
            self._state = _State(files, (AWAITED,), self._state.number + 1)

    def close(self) -> None:
        """Let go of the certificates; nobody loads them any more."""
        for file in self._certificates.values():
            file.close()

    def _follow(self, name: str) -> None:
        follower = Follower(
            self._api,
            _ALWAYS.get(name, Kind.SECRET),
            name,
            self._changed,
            clock=self._clock,
            random=self._random,
            log=self._log,
        )
        self._followers[name] = follower
        self._tasks[name] = self._start(follower.run, f"follow {name}")

    # The state

    def _changed(self) -> None:
        dropped = self._follow_references()
        if not all(map(self._is_told, self._followers.values())):
            return
        self._write_certificates()
        files, findings = self._files(), (*self._findings(), *dropped)
        if (files, findings) != (self._state.files, self._state.findings):
            self._state = _State(files, findings, self._state.number + 1)
        self._known.set()

    def _is_told(self, follower: Follower) -> bool:
        """Whether it is known as well as it can be; the very first answer is waited for."""
        return (
            follower.listed or follower.refused or (self._known.is_set() and follower.wrong != "")
        )

    def _follow_references(self) -> list[Finding]:
        """Follow what `oidc.config` refers to now, and Dex' certificate; what is too much."""
        cm, params = self._item(CM), self._item(PARAMS)
        names = referenced_secrets(cm.data) if cm is not None else []
        wanted = {*_ALWAYS, *names[:MAX_REFERENCED]}
        if params is not None and is_on(
            params.data.get(STRICT_TLS, b"").decode("ascii", "replace")
        ):
            wanted.add(DEX_TLS_SECRET)
        for name in set(self._followers) - wanted:
            del self._followers[name]
            self._tasks.pop(name).cancel()
        for name in wanted - set(self._followers):
            self._follow(name)
        if len(names) <= MAX_REFERENCED:
            return []
        sentence = f"refers to more than {MAX_REFERENCED} Secrets: the others are not looked at"
        return [Finding(Weight.DOUBTFUL, f"{CM}: oidc.config", sentence)]

    def _item(self, name: str) -> Item | None:
        return self._followers[name].item

    def _files(self) -> ArgoCdFiles:
        own = (CM, SECRET, PARAMS, RBAC)
        cm, secret, params, rbac = (self._item(name) for name in own)
        listed = self._followers[PARAMS].listed
        return ArgoCdFiles(
            cm.data if cm else None,
            secret.data if secret else None,
            params.data if params else {} if listed else self._assumed,
            {
                name: Secret(item.data, item.part_of_argocd)
                for name, follower in self._followers.items()
                if name not in own and (item := follower.item or _absent(follower)) is not None
            },
            namespace=self._api.namespace,
            awaited=not listed,
            rbac=rbac.data if rbac else None,
        )

    def _findings(self) -> Iterator[Finding]:
        for name, follower in self._followers.items():
            if follower.wrong and (follower.refused or not follower.listed):
                # Logins can do without the names of the claims that policies go by.
                weight = Weight.NOTE if name == RBAC else Weight.DOUBTFUL
                yield Finding(weight, name, follower.wrong)
            item = follower.item
            if name in (CM, SECRET) and item is not None and not item.part_of_argocd:
                sentence = f"is not labelled, so that Argo CD does not see it. Label it {PART_OF}: "
                yield Finding(Weight.DOUBTFUL, name, f"{sentence}argocd")

    def _write_certificates(self) -> None:
        for name in _WITH_CERTIFICATE:
            item = self._item(name)
            for key in _PAIR:
                # One that is gone stays: a certificate in use is not broken by that.
                if item is not None and key in item.data:
                    if (name, key) not in self._certificates:
                        self._certificates[name, key] = MemoryFile()
                    self._certificates[name, key].write(item.data[key])


def _absent(follower: Follower) -> Item | None:
    """A Secret that is known not to be there has no keys; of another nothing is known."""
    return Item({}, part_of_argocd=True) if follower.listed and not follower.refused else None
