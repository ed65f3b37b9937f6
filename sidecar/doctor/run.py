"""`sidecar doctor`: look at every part, then say what follows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from sidecar import edges
from sidecar.config.settings import Config
from sidecar.config.values import LoginMode
from sidecar.core.upstream_kinds import UpstreamKind
from sidecar.doctor import devtron, dex, login, outside, provider, settings, store, upstream
from sidecar.doctor.access_tokens import look_at_access_tokens, of_access_tokens
from sidecar.doctor.dex_look import look_at_dex
from sidecar.doctor.findings import Finding, fault
from sidecar.doctor.login_look import look_at_login
from sidecar.doctor.outside import look_from_outside
from sidecar.doctor.provider_look import look_at_provider
from sidecar.doctor.signing_in import ByHand, User
from sidecar.doctor.store_look import look_at_store
from sidecar.doctor.upstream_look import look_at_upstream
from sidecar.doctor.workflows import look_at_workflows, of_workflows
from sidecar.edges import ACCOUNT
from sidecar.errors import ConfigurationError, ProviderUnavailable
from sidecar.loading import loading
from sidecar.metrics import Metrics
from sidecar.ports import Clock


@dataclass(frozen=True, slots=True)
class TrialLogin:
    """A login to try: the user, if one is given, and how a person does what a form cannot."""

    user: User | None
    by_hand: ByHand


async def examine(
    environ: Mapping[str, str],
    clock: Clock,
    *,
    from_outside: bool = False,
    trial_login: TrialLogin | None = None,
    account: Path = ACCOUNT,
) -> list[Finding]:
    """Everything that is to be said of a sidecar with these variables."""
    log = structlog.get_logger()
    try:
        async with loading(environ, clock=clock, log=log, account=account) as loaded:
            found = await _examined(loaded.config, clock, from_outside, trial_login)
            if loaded.config.upstream_kind is UpstreamKind.ARGO_WORKFLOWS:
                seen = await look_at_workflows(loaded.config, clock, environ, account)
                found += of_workflows(loaded.config, seen)
            return found
    except ConfigurationError as error:
        return list(settings.of_faults(error))


async def _examined(
    config: Config, clock: Clock, from_outside: bool, trial_login: TrialLogin | None
) -> list[Finding]:
    found = list(settings.of_settings(config))
    if config.argocd.takes_over_logins:
        found += await _provider(config, clock)
        found += await _store(config, clock)
        if config.argocd.access_token_seed is not None:
            error = await look_at_access_tokens(config, clock)
            found.append(of_access_tokens(config, error))
    if not config.argocd.leaves_logins:
        found += await _upstream(config, clock)
    if config.login is LoginMode.OBSERVED:
        found += dex.of_dex(config, await look_at_dex(config, clock))
    if from_outside and config.argocd.takes_over_logins:
        found += outside.of_outside(config, await look_from_outside(config, clock))
    if trial_login is not None and config.argocd.takes_over_logins:
        found += await _login(config, trial_login, clock)
    return found


async def _upstream(config: Config, clock: Clock) -> list[Finding]:
    if config.upstream_kind is UpstreamKind.DEVTRON:
        return list(devtron.of_devtron(config, await devtron.look_at_devtron(config, clock)))
    return list(upstream.of_upstream(config, await look_at_upstream(config, clock)))


async def _provider(config: Config, clock: Clock) -> list[Finding]:
    async with edges.provider_http(config) as http:
        seen = await look_at_provider(config, http, clock, Metrics())
    return list(provider.of_provider(config, seen))


async def _login(config: Config, test: TrialLogin, clock: Clock) -> list[Finding]:
    try:
        seen = await look_at_login(config, test.user, test.by_hand, clock)
    except (ProviderUnavailable, OSError, ValueError):  # what is wrong has been found above
        return [
            fault(
                "login.flow", "no login could be begun", "Nobody logs in.",
                "Mend what is found at the provider first",
            )
        ]  # fmt: skip
    return list(login.of_login(seen))


async def _store(config: Config, clock: Clock) -> list[Finding]:
    if config.store_url == "memory://":
        return [store.of_memory()]
    return list(store.of_store(config, await look_at_store(config, clock)))
