"""Load the configuration from where it says that Argo CD's settings are."""

import functools
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from structlog.typing import FilteringBoundLogger

from sidecar.adapters.upstream import speaks_tls
from sidecar.config.environment import read_file, variable
from sidecar.config.from_argocd import UPSTREAM_TLS
from sidecar.config.settings import Config
from sidecar.config.values import ArgoCdConfigSource
from sidecar.core.kubernetes_objects import MEND_HIDDEN
from sidecar.edges import ACCOUNT
from sidecar.errors import ConfigurationError
from sidecar.flows.tasks import Tasks
from sidecar.ports import Clock
from sidecar.web.admin import Check

if TYPE_CHECKING:
    from sidecar.adapters.argocd_objects import ArgoCdObjects
    from sidecar.adapters.kubernetes_api import KubernetesApi

START_SECONDS = 10.0  # how long a start waits for the API; then it does without, for now
_CLOSE_SECONDS = 1.0
_LOOK_EVERY_SECONDS = 1.0
_VARIABLE = variable("argocd_config_source")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, how it is loaded once more, and what readiness tells of its source."""

    config: Config
    load: Callable[[], Config]
    checks: Mapping[str, Check] = field(default_factory=dict)


@asynccontextmanager
async def loading(
    environ: Mapping[str, str],
    *,
    clock: Clock,
    log: FilteringBoundLogger,
    account: Path = ACCOUNT,
    seconds: float = START_SECONDS,
    upstream: str = UPSTREAM_TLS,
) -> AsyncIterator[Loaded]:
    """The configuration. While this is open, what the Kubernetes API says is followed, if asked.

    Its first answer is waited for, so many seconds; then logins pass until it comes. How they
    pass is then seen at `upstream`, which is Argo CD's usual place.

    Raises:
        ConfigurationError: with a line for every fault.
    """
    config = Config.load(environ)
    if config.argocd_config_source is ArgoCdConfigSource.FOLDER:
        yield Loaded(config, lambda: Config.load(environ))
        return
    api = _kubernetes_api(config, environ, account)
    async with _followed(api, clock, log) as (source, tasks):
        await source.known(seconds)
        look = functools.partial(_look_at_upstream, source, upstream, clock)
        tasks.start_endless(look, "look at upstream", clock)
        checks = {"kubernetes_api": source.check}
        yield Loaded(Config.load(environ, source), lambda: Config.load(environ, source), checks)


@asynccontextmanager
async def _followed(
    api: "KubernetesApi", clock: Clock, log: FilteringBoundLogger
) -> AsyncIterator[tuple["ArgoCdObjects", Tasks]]:
    # Loaded only for those who ask for it: kubernetes-asyncio takes half as much as all the rest.
    from sidecar.adapters.argocd_objects import ArgoCdObjects

    tasks = Tasks(log)
    source = ArgoCdObjects(
        api,
        start=lambda run, name: tasks.start_endless(run, name, clock),
        clock=clock,
        random=os.urandom,
        log=log,
    )
    source.begin()
    try:
        yield source, tasks
    finally:
        await tasks.aclose(seconds=_CLOSE_SECONDS)
        source.close()


async def _look_at_upstream(source: "ArgoCdObjects", upstream: str, clock: Clock) -> None:
    """Until the settings say how `argocd-server` is spoken to, see what it does."""
    while not source.knows_upstream:
        if (tls := await speaks_tls(upstream)) is not None:
            source.assume(insecure=not tls)
            return
        await clock.sleep(_LOOK_EVERY_SECONDS)


def _kubernetes_api(config: Config, environ: Mapping[str, str], account: Path) -> "KubernetesApi":
    """The API as this pod reaches it.

    Raises:
        ConfigurationError: there is none, or nothing to ask it with.
    """
    if not environ.get("KUBERNETES_SERVICE_HOST") or not environ.get("KUBERNETES_SERVICE_PORT"):
        raise _fault("there is no Kubernetes API here", f"Take {_VARIABLE} out, outside of a pod")
    if not (account / "token").is_file():
        raise _fault(f"the service account's token is not in {account}", MEND_HIDDEN)
    try:
        namespace = config.argocd_namespace or read_file(str(account / "namespace"))
    except (OSError, ValueError):
        mend = f"Set {variable('argocd_namespace')}"
        raise _fault(f"{account} does not say the namespace", mend) from None
    try:
        from sidecar.adapters.kubernetes_api import KubernetesApi
    except ImportError:
        mend = "Install argocd-token-refresh[kubernetes]"
        raise _fault("kubernetes-asyncio is not installed", mend) from None
    return KubernetesApi(environ, account, namespace)


def _fault(why: str, mend: str) -> ConfigurationError:
    return ConfigurationError([f"{_VARIABLE} is kubernetes, but {why}. {mend}"])
