"""docs/providers/: what each page tells to set, read as an operator would copy it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from sidecar.core.provider_profiles import Provider

PAGES = Path(__file__).parents[2] / "docs" / "providers"
HEADINGS = ["Settings", "Lifetimes", "Rotation", "Logout", "Dismissed users", "Traps"]
_BLOCK = re.compile(r"^```(yaml|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_REFERENCE = re.compile(r"^\$([\w.]+)$")


@dataclass(frozen=True)
class Way:
    """One of a page's ways: `oidc.config`, the claim with the groups, and the variables."""

    provider: Provider
    oidc: str
    groups_claim: str = "groups"
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def known(self) -> dict[str, Any]:
        """What `oidc.config` says."""
        found: dict[str, Any] = yaml.safe_load(self.oidc)
        return found

    @property
    def path(self) -> str:
        """The issuer's path, without a slash at its end."""
        return urlsplit(str(self.known["issuer"])).path.rstrip("/")

    @property
    def secret_key(self) -> str:
        """Where in `argocd-secret` the client's secret is; "" without one."""
        found = _REFERENCE.match(self.known.get("clientSecret", ""))
        return found[1] if found else ""

    @property
    def workload_identity(self) -> bool:
        """Whether the client shows the pod's token."""
        return bool(self.known.get("azure", {}).get("useWorkloadIdentity"))

    def oidc_at(self, issuer: str) -> str:
        """The same `oidc.config` for a provider that is elsewhere."""
        return self.oidc.replace(f"issuer: {self.known['issuer']}\n", f"issuer: {issuer}\n")


def text_of(provider: Provider) -> str:
    """A provider's page."""
    return (PAGES / f"{provider}.md").read_text(encoding="utf-8")


def headings(page: str) -> list[str]:
    """The headings of a page's sections."""
    return re.findall(r"^## (.*)$", page, re.MULTILINE)


def loses_an_answer_for_nothing(page: str) -> bool:
    """What the page says that an answer costs that is lost on its way."""
    text = " ".join(page.split())
    [cost] = re.findall(r"\*\*A lost answer costs (nothing|one login)\.?\*\*", text)
    return bool(cost == "nothing")


def ways(provider: Provider) -> list[Way]:
    """The ways that a page names; all have its variables, and its claim for the groups."""
    configs, claim = [], "groups"
    environment: dict[str, str] = {}
    for language, block in _BLOCK.findall(text_of(provider)):
        if language == "sh":
            lines = [line for line in block.splitlines() if line and not line.startswith("#")]
            environment |= dict(line.split("=", 1) for line in lines)
            continue
        document = yaml.safe_load(block)
        if "oidc.config" in document:
            configs.append(document["oidc.config"])
        elif "scopes" in document:
            [claim] = yaml.safe_load(document["scopes"])
    return [Way(provider, config, claim, environment) for config in configs]
