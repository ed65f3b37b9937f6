"""Attacks by numbers: logins in a loop, from one address, of one person."""

from typing import Any

from tests.attacks.attack import Defence, attack, is_always
from tests.attacks.lab import VICTIM, Lab, who
from tests.world import World

PROXIED = {"SIDECAR_TRUSTED_PROXIES": "127.0.0.0/8", "SIDECAR_MAX_LOGINS_PER_ADDRESS": "5"}
OFTEN = 12


async def _begins_logins(here: World, *, forwarded: str, invented: bool = False) -> int:
    """How many logins an address may begin, as a proxy in front tells of it."""
    begun = 0
    for number in range(OFTEN):
        told = f"203.0.113.{number}, {forwarded}" if invented else forwarded
        browser = await here.browser()
        start = await browser.get("/auth/login", headers={"X-Forwarded-For": told})
        begun += start.status == 303
    return begun


@attack(
    25,
    does="Begins logins in numbers from one address.",
    stopped_by=Defence(
        "behind trusted proxies an address may ask so often",
        "sidecar.flows.limits:LoginLimits.check_address",
        is_always(None),
    ),
)
async def flood_from_an_address(lab: Lab) -> bool:
    async with lab.world(environment=PROXIED) as here:
        return await _begins_logins(here, forwarded="198.51.100.7") == OFTEN


def _leftmost(_: Any) -> Any:
    return lambda _peer, lines, _trusted: ",".join(lines).split(",")[0].strip()


@attack(
    25,
    7,
    does="The same, with another invented address at the left of `X-Forwarded-For` each time.",
    stopped_by=Defence(
        "the nearest address that is no trusted proxy's counts, read from the right",
        "sidecar.core.client_address:client_address",
        _leftmost,
    ),
)
async def invented_addresses(lab: Lab) -> bool:
    async with lab.world(environment=PROXIED) as here:
        return await _begins_logins(here, forwarded="198.51.100.7", invented=True) == OFTEN


@attack(
    25,
    does="Keeps a browser in a loop of logins: the provider sees a login with each turn.",
    stopped_by=Defence(
        "a browser begins so many logins in a minute",
        "sidecar.flows.limits:LoginLimits.check_browser",
        is_always(None),
    ),
)
async def login_loop(lab: Lab) -> bool:
    async with lab.world() as here:
        browser = await here.browser()
        started = [(await browser.get("/auth/login")).status for _ in range(25)]
        return set(started) == {303}


async def _ends_none(*_: Any) -> None:
    return None


@attack(
    25,
    does="Logs in again and again with one account, until its sessions fill store and memory.",
    stopped_by=Defence(
        "with one session too many the one unused the longest ends",
        "sidecar.flows.sessions:Sessions.end_surplus",
        lambda _: _ends_none,
    ),
)
async def pile_of_sessions(lab: Lab) -> bool:
    async with lab.world(environment={"SIDECAR_MAX_SESSIONS_PER_USER": "2"}) as here:
        browsers = []
        for _ in range(4):
            here.clock.advance(1)
            browsers.append(await here.logged_in())
        return [await who(browser) for browser in browsers] == [VICTIM] * 4
