"""A changed configuration takes effect without a restart; one that cannot be used is refused."""

import asyncio
from collections.abc import Awaitable, Callable

from sidecar.config.argocd_folder import Signature
from sidecar.config.settings import Config
from sidecar.config.variables import VARIABLES
from sidecar.core.argocd_files import Finding, Weight
from sidecar.errors import ConfigurationError
from sidecar.flows.tasks import Runtime

LOOK_EVERY_SECONDS = 1.0
# argocd-server reads these at its own start only, so that a change of them is not yet true.
AT_START_ONLY: tuple[str, ...] = ("upstream", "upstream_tls_verify", "store_url")
TLS = ("tls_cert_file", "tls_key_file")
URLS = ("public_url", "additional_urls")
_REFUSED = (Weight.BROKEN, Weight.DOUBTFUL)


class Changes:
    """Looks whether the files of the configuration have changed, and has the new one used."""

    def __init__(
        self,
        config: Config,
        load: Callable[[], Config],
        use: Callable[[Config], Awaitable[object]],
        runtime: Runtime,
    ) -> None:
        self._config = config
        self._load = load
        self._use = use
        self._clock = runtime.clock
        self._metrics = runtime.metrics
        self._log = runtime.log
        # Nothing: what has changed since the configuration was loaded is seen by the first look.
        self._seen: Signature | None = None
        self._refused: tuple[str, ...] = ()
        self._waiting: tuple[str, ...] = ()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self._clock.sleep(LOOK_EVERY_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Load the configuration again if its files have changed."""
        seen = self._config.watched()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            found = await asyncio.to_thread(self._load)
        except ConfigurationError as error:
            self._refuse(error.faults)
        else:
            await self._take(found)

    async def check(self) -> str:
        """What is wrong with the configuration, for the detail of readiness."""
        findings = [str(finding) for finding in self._config.argocd.findings if _is_alarm(finding)]
        refused = [f"refused: {fault}" for fault in self._refused]
        return "; ".join([*refused, *findings]) or "ok"

    def say_findings(self, config: Config) -> None:
        """Tell the log of all that was found, and whether logins are taken over."""
        for finding in config.argocd.findings:
            if _is_alarm(finding):
                self._metrics.alarms.labels("argocd_config").inc()
                self._log.error("argocd_config", weight=finding.weight, finding=str(finding))
            else:
                self._log.warning("argocd_config", weight=finding.weight, finding=str(finding))
        if not config.argocd.takes_over_logins and not config.argocd.leaves_logins:
            self._metrics.alarms.labels("logins_pass").inc()
            self._log.error(
                "logins_pass",
                meaning="everything goes to Argo CD as it comes, less the sidecar's cookies; "
                "nobody's login is kept alive",
            )

    async def _take(self, found: Config) -> None:
        found = self._without_what_waits(found)
        faults = [str(finding) for finding in self._new_faults(found)]
        if faults:
            self._refuse(faults)
            return
        self._refused = ()
        self._metrics.configuration_refused.set(0)
        if found == self._config:
            return
        before = self._config
        await self._use(found)
        self._config = found
        self._log.info("configuration_changed", changed=_changed(before, found))
        if before.argocd.findings != found.argocd.findings:
            self.say_findings(found)

    def _new_faults(self, found: Config) -> list[Finding]:
        """What speaks against a change, where there is something to lose."""
        known = self._config.argocd
        if not known.takes_over_logins:
            return []
        findings = [finding for finding in found.argocd.findings if finding.weight in _REFUSED]
        return [finding for finding in findings if finding not in known.findings]

    def _without_what_waits(self, found: Config) -> Config:
        """The configuration with the old values of what takes effect at a start only."""
        if self._config.argocd.awaited:
            return found  # it is no change: argocd-server has begun with it
        names = AT_START_ONLY
        if not self._config.argocd.takes_over_logins:
            names = tuple(name for name in names if name != "store_url")  # none is open yet
        if found.argocd.insecure is not self._config.argocd.insecure:
            names += TLS  # both sides change at once, when argocd-server does
        if found.root_path != self._config.root_path and self._config.public_url:
            names += URLS
        kept = found.keeping(names, of=self._config)
        waiting = tuple(n for n in names if getattr(kept, n) != getattr(found, n))
        if waiting and waiting != self._waiting:
            mend = "restart the pod, argocd-server with it"
            self._log.warning("configuration_waits", settings=list(waiting), mend=mend)
        self._waiting = waiting
        return kept

    def _refuse(self, faults: tuple[str, ...] | list[str]) -> None:
        if tuple(faults) == self._refused:
            return
        self._refused = tuple(faults)
        self._metrics.configuration_refused.set(1)
        self._metrics.alarms.labels("configuration_refused").inc()
        self._log.error(
            "configuration_refused", faults=list(faults), meaning="the one before goes on"
        )


def _is_alarm(finding: Finding) -> bool:
    return finding.weight is not Weight.NOTE


def _changed(before: Config, after: Config) -> list[str]:
    """The names of what has changed."""
    names = [name for name in VARIABLES if getattr(before, name) != getattr(after, name)]
    if before.provider_ca != after.provider_ca and before.argocd == after.argocd:
        names.append("provider_ca_file")
    if "client_secret" not in names and not after.has_secret_of(before):
        names.append("client_key_file" if after.client_key_file else "client_secret_file")
    return names if before.argocd == after.argocd else [*names, "argocd"]
