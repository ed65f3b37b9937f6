"""Text → value, as in `config.values`: what stands in a file of rules."""

import re

from sidecar.config import values
from sidecar.core.machine_rules import ServiceAccount

_LONGEST_LEEWAY_SECONDS = 300.0
_HIGHEST_PRECEDENCE = 2**31 - 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_SERVICE_ACCOUNT = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


def name(text: str) -> str:
    """A name of an issuer or a rule: for metrics and logs, too."""
    if not _NAME.fullmatch(text):
        raise ValueError("is no name: up to 63 letters, digits, and . _ - behind the first")
    return text


def leeway(text: str) -> float:
    """By how much clocks may differ, in seconds."""
    seconds = values.duration(text)
    if seconds > _LONGEST_LEEWAY_SECONDS:
        raise ValueError(f"is too long: {text!r}. Clocks differ by seconds; write 5m at most")
    return seconds


def precedence(text: str) -> int:
    """A whole number, negative too."""
    if not re.fullmatch(r"-?[0-9]{1,10}", text) or abs(int(text)) > _HIGHEST_PRECEDENCE:
        raise ValueError(f"is not a precedence: {text!r}. Write a whole number; the highest wins")
    return int(text)


def path(text: str) -> str:
    """Where a file is."""
    if not text.startswith("/") or "\0" in text:
        raise ValueError(f"is not an absolute path: {text!r}. Write /var/run/secrets/ci/token")
    return text


def service_account(text: str) -> ServiceAccount:
    """A service account, with its namespace or without."""
    namespace, slash, name = text.rpartition("/")
    if slash:
        values.namespace(namespace)
    if not _SERVICE_ACCOUNT.fullmatch(name):
        raise ValueError(f"is not a service account: {text!r}. Write argo/ci, or ci")
    return ServiceAccount(namespace, name)
