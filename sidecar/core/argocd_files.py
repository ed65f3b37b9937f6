"""Argo CD's ConfigMaps and Secrets as they come, and what can be found wrong with them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

CM, SECRET, PARAMS = "argocd-cm", "argocd-secret", "argocd-cmd-params-cm"
RBAC = "argocd-rbac-cm"
REDIS_SECRET, TLS_SECRET = "argocd-redis", "argocd-server-tls"
DEX_TLS_SECRET = "argocd-dex-server-tls"  # noqa: S105 - a name


class Weight(StrEnum):
    """What follows from a finding."""

    NOTE = "note"
    """Worth knowing."""
    DOUBTFUL = "doubtful"
    """Argo CD goes on with it, and so does a start; a change to it is refused."""
    BROKEN = "broken"
    """Logins cannot be taken over, and pass to Argo CD; a change to it is refused."""
    ABSENT = "absent"
    """Argo CD has no login that could be taken over: they pass, after a change, too."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong or worth knowing: where, in a sentence with its mend."""

    weight: Weight
    where: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.where} {self.sentence}"


AWAITED = Finding(
    Weight.BROKEN,
    "The Kubernetes API",
    "has not said yet what Argo CD's settings are. They count as soon as it does; the log says "
    "what is wrong",
)


class Texts(dict[str, str]):
    """Texts by key; one that is not there is empty."""

    def __missing__(self, key: str) -> str:
        return ""


@dataclass(frozen=True, slots=True)
class Secret:
    """A Secret besides `argocd-secret`."""

    data: Mapping[str, bytes] = field(repr=False)
    part_of_argocd: bool | None = None
    """Whether it has the label without which Argo CD does not look into it; None: not known."""


@dataclass(frozen=True, slots=True)
class ArgoCdFiles:
    """The ConfigMaps and Secrets as they are; None for one that cannot be seen."""

    cm: Mapping[str, bytes] | None = None
    secret: Mapping[str, bytes] | None = field(default=None, repr=False)
    params: Mapping[str, bytes] | None = None
    others: Mapping[str, Secret] = field(default_factory=dict)
    namespace: str = ""
    """Where they are in the Kubernetes API, if they are from there; "" for a folder."""
    awaited: bool = False
    """Whether what `argocd-server` has begun with is not known yet."""
    rbac: Mapping[str, bytes] | None = None
    """`argocd-rbac-cm`, which need not be seen."""

    def mend(self, name: str) -> str:
        """What makes one visible that cannot be seen."""
        if self.namespace:
            return f"See that it is in {self.namespace}, and that the Role covers it"
        return "Mount it whole" if name in (CM, SECRET, PARAMS) else f"Mount it at secrets/{name}"
