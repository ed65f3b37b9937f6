"""Which addresses mean something to a browser, and which only to a pod."""

from ipaddress import ip_address
from urllib.parse import urlsplit


def host_of(url: str) -> str:
    """An address's host, "" where it has none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Whether a host is the machine itself."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_inside(host: str) -> bool:
    """Whether only a pod can resolve a host: a Service's name."""
    if not host or is_loopback(host):
        return False
    return not {".", ":"} & set(host) or host.endswith((".svc", ".cluster.local"))
