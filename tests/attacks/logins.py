"""Attacks on a login: from another browser, with another's code, state or session."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from sidecar.core.authorization import AuthorizationResponse
from sidecar.core.cookies import Crumb
from tests.attacks.attack import Defence, attack, becomes, does_nothing, is_always
from tests.attacks.lab import (
    ATTACKER,
    VICTIM,
    Lab,
    begun,
    login_cookies,
    parameters,
    who,
    whoever_has,
)
from tests.world import Browser

_started: list[tuple[str, str]] = []
"""Login cookies, as a server would keep them that does not leave an attempt to its browser."""


def _whoever_started_it(original: Any) -> Any:
    def login_of(jar: Any, found: Any, state_hash: str) -> Crumb | None:
        fitting = ((n, v) for n, v in _started if n.endswith(f"-{state_hash[:16]}"))
        kept = next((Crumb(name, value, "") for name, value in fitting), None)
        return kept or original(jar, found, state_hash)

    return login_of


def _keep_started(browser: Browser) -> None:
    _started[:] = login_cookies(browser).items()


OWN_BROWSER = Defence(
    "a state is worth something in the browser that has its attempt's cookie",
    "sidecar.core.cookies:CookieJar.login_of",
    _whoever_started_it,
)
SEALED_FOR_STATE = Defence(
    "an attempt is sealed for its own state", "sidecar.core.sealing:Label.encode", is_always(b"")
)
SAME_STATE = Defence(
    "the state in the attempt is compared, too",
    "sidecar.core.authorization:hmac",
    becomes(SimpleNamespace(compare_digest=lambda _a, _b: True)),
)


def _whatever_iss(original: Any) -> Any:
    def check(response: AuthorizationResponse, **named: Any) -> None:
        original(replace(response, iss=""), **{**named, "iss_required": False})

    return check


def _one_verifier(original: Any) -> Any:
    def new_attempt(*args: Any, **named: Any) -> Any:
        return replace(original(*args, **named), code_verifier="v" * 43)

    return new_attempt


def _without_nonce(original: Any) -> Any:
    return lambda **named: original(**{**named, "nonce": ""})


def _last_wins(original: Any) -> Any:
    return lambda query: original(list(dict(query).items()))


@attack(
    3,
    does="Signs in as themselves, and sends a victim the address of that login's end.",
    stopped_by=OWN_BROWSER,
)
async def login_csrf(lab: Lab) -> bool:
    async with lab.world() as here:
        attacker, victim = await here.browser(), await here.browser()
        callback = await attacker.sign_in(user="mallory")
        _keep_started(attacker)

        await victim.get(callback)

        return await who(victim) == ATTACKER


@attack(
    3,
    does="Puts the sealed state of one attempt (another tab's, or the attacker's own) in the place "
    "of another's.",
    stopped_by=(SEALED_FOR_STATE, SAME_STATE),
)
async def swapped_tabs(lab: Lab) -> bool:
    async with lab.world() as here:
        browser = await here.browser()
        await browser.get("/auth/login")
        (other,) = login_cookies(browser).values()
        callback = await browser.sign_in()
        mine = next(name for name, value in login_cookies(browser).items() if value != other)

        victim = await here.browser()
        await victim.get(callback, headers={"Cookie": f"{mine}={other}"})

        return here.provider.token_requests > 0


@attack(
    3,
    does="Comes back with a login that was begun an hour ago.",
    stopped_by=Defence(
        "an attempt is good for ten minutes",
        "sidecar.core.authorization:ATTEMPT_LIFE_SECONDS",
        becomes(1e9),
    ),
)
async def late_callback(lab: Lab) -> bool:
    async with lab.world(provider_settings={"code_seconds": 1e9}) as here:
        browser = await here.browser()
        callback = await browser.sign_in()
        cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies().items())
        here.clock.advance(3600)

        await browser.get(callback, headers={"Cookie": cookie})

        return bool(browser.session())


@attack(
    4,
    does="Lets an answer come from another provider than was asked (RFC 9207).",
    stopped_by=Defence(
        "`iss` is the issuer that was asked",
        "sidecar.core.authorization:check_authorization_response",
        _whatever_iss,
    ),
)
async def mix_up(lab: Lab) -> bool:
    async with lab.world() as here:
        browser = await here.browser()
        callback = await browser.sign_in()
        own = parameters(callback)["iss"].replace(":", "%3A").replace("/", "%2F")

        await browser.get(callback.replace(own, "https%3A%2F%2Fevil.example"))

        return here.provider.token_requests > 0


@attack(
    4,
    does="Has one provider's login end at another: the sidecar got another client meanwhile.",
    stopped_by=Defence(
        "an attempt is sealed for its issuer and client",
        "sidecar.flows.login:user_tag",
        is_always("any"),
    ),
)
async def attempt_of_another_client(lab: Lab) -> bool:
    async with lab.world() as here:
        later = await here.start_sidecar(
            SIDECAR_LISTEN="127.0.0.1:0", SIDECAR_CLIENT_ID="another", SIDECAR_CLIENT_SECRET="x"
        )
        browser = await here.browser()
        callback = await browser.sign_in()

        await here.through(browser, later).get(
            callback.replace(here.base, f"http://127.0.0.1:{later.port}")
        )

        return here.provider.token_requests > 0


@attack(
    5,
    does="Ends an own login with a code that was stolen from a victim before its use.",
    stopped_by=(
        Defence(
            "PKCE: each attempt has a verifier of its own",
            "sidecar.core.authorization:new_attempt",
            _one_verifier,
        ),
        Defence(
            "each attempt has a nonce of its own, which the ID token repeats",
            "sidecar.flows.login:Expected",
            _without_nonce,
        ),
    ),
)
async def injected_code(lab: Lab) -> bool:
    async with lab.world() as here:
        victim, attacker = await here.browser(), await here.browser()
        stolen = parameters((await begun(victim))[0])["code"]
        own, _ = await begun(attacker, user="mallory")

        await attacker.get(own.replace(parameters(own)["code"], stolen))

        return await who(attacker) == VICTIM


@attack(
    5,
    does="Opens a victim's callback address, from a log or a history.",
    stopped_by=OWN_BROWSER,
)
async def stolen_callback(lab: Lab) -> bool:
    async with lab.world() as here:
        victim, thief = await here.browser(), await here.browser()
        callback = await victim.sign_in()
        _keep_started(victim)
        await victim.get(callback)

        await thief.get(callback)

        return await who(thief) == VICTIM


@attack(
    5,
    does="Has a victim's browser repeat its callback, so that the provider sees a code twice and "
    "ends the grant (RFC 6749 4.1.2).",
    stopped_by=Defence(
        "a state is redeemed once", "sidecar.flows.login:Login._is_first", lambda _: _yes
    ),
)
async def repeated_callback(lab: Lab) -> bool:
    async with lab.world() as here:
        browser, again = await here.browser(), await here.browser()
        callback = await browser.sign_in()
        here.share_cookies(browser, again)

        await browser.get(callback)
        await again.get(callback)

        return here.provider.reuses > 0


async def _yes(*_: Any) -> bool:
    return True


@attack(
    22,
    does="Adds a second `code` to an answer: of two readers each may take another one.",
    stopped_by=Defence(
        "a parameter that comes twice is refused",
        "sidecar.core.authorization:read_authorization_response",
        _last_wins,
    ),
)
async def repeated_parameter(lab: Lab) -> bool:
    async with lab.world() as here:
        browser = await here.browser()
        callback, _ = await begun(browser)

        await browser.get(f"{callback}&code=another")

        return here.provider.token_requests > 0


@attack(
    2,
    does="Plants a session of their own in a victim's browser, and looks what it is worth after "
    "the victim has logged in.",
    stopped_by=Defence(
        "a login ends the session that the browser had before",
        "sidecar.flows.login:Login.end_previous",
        does_nothing,
    ),
)
async def planted_session(lab: Lab) -> bool:
    async with lab.world() as here:
        attacker, victim = await here.logged_in(user="mallory"), await here.browser()
        planted = attacker.session()
        here.share_cookies(attacker, victim)

        await victim.log_in()

        assert await who(victim) == VICTIM
        return await whoever_has(here, planted) != ""
