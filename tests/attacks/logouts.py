"""Attacks that log others out: with logout tokens, and through the page of one's sessions."""

import secrets
from collections.abc import Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from sidecar.ports import UserSessions
from tests.attacks.attack import Defence, attack, becomes, is_always
from tests.attacks.lab import VICTIM, Lab, cookies_upstream, who
from tests.attacks.tokens import unchecked
from tests.web.logout_tokens import logout_token, tell
from tests.world import Browser, World

_OWN_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
AT = "/_sidecar/session"


async def _logs_out(lab: Lab, make: Callable[[World, str], str]) -> bool:
    """Whether a stranger's token ends a victim's session; it may be made of the ID token."""
    async with lab.world() as here:
        victim = await here.logged_in()
        id_token = (await cookies_upstream(victim)).partition("argocd.token=")[2]

        await tell(await here.browser(), make(here, id_token))

        return await who(victim) != VICTIM


@attack(
    11,
    does="Signs a logout token with a key of their own.",
    stopped_by=Defence(
        "the signature is the provider's", "sidecar.core.logout_token:signed_claims", unchecked
    ),
)
async def forged_logout_token(lab: Lab) -> bool:
    return await _logs_out(lab, lambda here, _: logout_token(here, _OWN_KEY, sub="ada"))


@attack(
    11,
    does="Brings a logout token that the provider made for another client.",
    stopped_by=Defence(
        "`aud` is our client", "sidecar.core.logout_token:_check_audience", is_always(None)
    ),
)
async def logout_token_of_another_client(lab: Lab) -> bool:
    return await _logs_out(lab, lambda here, _: logout_token(here, lab.key, sub="ada", aud="x"))


@attack(
    11,
    does="Brings a logout token of another issuer that has the same keys.",
    stopped_by=Defence(
        "`iss` is our issuer", "sidecar.core.logout_token:is_issuer", is_always(True)
    ),
)
async def logout_token_of_another_issuer(lab: Lab) -> bool:
    def make(here: World, _: str) -> str:
        return logout_token(here, lab.key, sid=here.provider.log[-1].detail, iss="https://evil")

    return await _logs_out(lab, make)


@attack(
    11,
    does="Sends an ID token, which the provider has signed too, as a logout token.",
    stopped_by=Defence(
        "`events` says that it is a logout, and there is no `nonce`",
        "sidecar.core.logout_token:_check_event",
        is_always(None),
    ),
)
async def id_token_as_a_logout_token(lab: Lab) -> bool:
    return await _logs_out(lab, lambda _, id_token: id_token)


async def _works_twice(lab: Lab, *, after_seconds: float, **claims: Any) -> bool:
    """Whether a logout token that has done its work ends a later session."""
    async with lab.world() as here:
        first, second = await here.logged_in(), await here.browser()
        token = logout_token(here, lab.key, sub="ada", **claims)
        await tell(first, token)
        here.clock.advance(after_seconds)
        await second.log_in()

        await tell(await here.browser(), token)

        return await who(second) != VICTIM


async def _knows_none(*_: Any) -> bool:
    return False


@attack(
    11,
    does="Sends a logout token a second time, after its user has logged in again.",
    stopped_by=Defence(
        "a token's `jti` is remembered as long as the token is good",
        "sidecar.adapters.memory_store:MemoryStore.knows_logout_token",
        lambda _: _knows_none,
    ),
)
async def replayed_logout_token(lab: Lab) -> bool:
    return await _works_twice(lab, after_seconds=10)


@attack(
    11,
    does="The same an hour later, when nobody remembers the token; its own end is years away.",
    stopped_by=Defence(
        "what was issued more than ten minutes ago is refused",
        "sidecar.core.logout_token:OLDEST_SECONDS",
        becomes(1e9),
    ),
)
async def old_logout_token(lab: Lab) -> bool:
    return await _works_twice(lab, after_seconds=3600, exp=10**10)


@attack(
    23,
    25,
    does="Sends made-up logout tokens in numbers: each would be a request for the provider's keys.",
    stopped_by=Defence(
        "strangers' tokens have the keys read every ten seconds at most",
        "sidecar.flows.verification:_FOR_STRANGERS_SECONDS",
        becomes(0.0),
    ),
)
async def flood_of_logout_tokens(lab: Lab) -> bool:
    async with lab.world() as here:
        await here.logged_in()
        stranger = await here.browser()
        for _ in range(8):
            here.clock.advance(1.1)
            named = {"kid": secrets.token_hex(8)}
            await tell(stranger, jwt.encode({"sub": "ada"}, _OWN_KEY, "RS256", headers=named))
        return here.provider.jwks_requests > 4


class _Whatever(str):
    """An origin that is equal to every other."""

    __hash__ = str.__hash__

    def __eq__(self, _: object) -> bool:
        return True


async def _own_page(browser: Browser) -> dict[str, Any]:
    answer = await browser.get(AT, headers={"Accept": "application/json"})
    assert answer.status == 200
    found: dict[str, Any] = await answer.json()
    return found


@attack(
    13,
    11,
    does="Has a form on another page that ends a victim's sessions, with the token of an own page.",
    stopped_by=(
        Defence(
            "a change has exactly one `Origin`, our own",
            "sidecar.web.sessions:origin",
            lambda _: lambda _: _Whatever(),
        ),
        Defence(
            "a change has the token of the asking session",
            "sidecar.flows.own_sessions:is_form_token",
            is_always(True),
        ),
    ),
)
async def forged_form(lab: Lab) -> bool:
    async with lab.world() as here:
        phone, victim = await here.logged_in(), await here.logged_in()
        attacker = await here.logged_in(user="mallory")
        form = {"action": "end-others", "token": (await _own_page(attacker))["token"]}

        await victim.request("POST", AT, data=form, headers={"Origin": "https://evil.example"})

        return await who(phone) != VICTIM


def _of_all_users(original: Any) -> Any:
    async def user_sessions(store: Any, user_tag: str, *, limit: int) -> UserSessions:
        found = []
        for tag in list(store._slots):
            found += (await original(store, tag, limit=limit)).found
        return UserSessions(found, len(found))

    return user_sessions


@attack(
    11,
    does="On the page of their own sessions names another user's.",
    stopped_by=Defence(
        "only the user's own sessions are looked at",
        "sidecar.adapters.memory_store:MemoryStore.user_sessions",
        _of_all_users,
    ),
)
async def anothers_session_ended(lab: Lab) -> bool:
    async with lab.world() as here:
        victim, attacker = await here.logged_in(), await here.logged_in(user="mallory")
        (known,) = [one["id"] for one in (await _own_page(victim))["sessions"] if one["current"]]
        token = (await _own_page(attacker))["token"]
        form = {"action": "end", "session": known, "token": token}

        await attacker.request("POST", AT, data=form, headers={"Origin": here.base})

        return await who(victim) != VICTIM


def _without_policy(fields: Any) -> Any:
    return tuple(field for field in fields if field[0] != "Content-Security-Policy")


@attack(
    13,
    does="Puts the page of one's sessions into a frame, under a button of their own.",
    stopped_by=Defence(
        "no page frames it (`frame-ancestors`)", "sidecar.web.session_page:FIELDS", _without_policy
    ),
)
async def framed_sessions(lab: Lab) -> bool:
    async with lab.world() as here:
        browser = await here.logged_in()

        page = await browser.get(AT, headers={"Accept": "text/html"})

        return "frame-ancestors 'none'" not in page.headers.get("Content-Security-Policy", "")
