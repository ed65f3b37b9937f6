"""Attacks on a session that is there, or was: from other sites, and after its end."""

from typing import Any

from aiohttp import ClientWebSocketResponse, WSMsgType, WSServerHandshakeError, web

from sidecar.demo.grants import OAuthError
from sidecar.demo.misbehaviour import Change
from tests.attacks.attack import Defence, attack, is_always
from tests.attacks.lab import API, VICTIM, Lab, cookies_upstream, named, who, whoever_has
from tests.attacks.tokens import payload
from tests.world import World, eventually

STREAM = "/api/v1/stream/applications"


@attack(
    14,
    does="Opens a terminal with a victim's cookie from another site, a sibling's, or from no page.",
    stopped_by=Defence(
        "with a session the `Origin` is our own",
        "sidecar.proxy.gate:Gate._is_from_here",
        is_always(True),
    ),
)
async def cross_site_websocket(lab: Lab) -> bool:
    async with lab.world() as here:
        browser = await here.logged_in()
        opened = 0
        for origin in ("https://evil.example", "https://sibling.example.org", "null", None):
            headers = {"Origin": origin} if origin else {}
            try:
                async with browser.http.ws_connect(browser.base + "/terminal", headers=headers):
                    opened += 1
            except WSServerHandshakeError:
                continue
        return opened > 0


async def _still_answers(terminal: ClientWebSocketResponse) -> bool:
    """Whether a shell still runs what it is told."""
    await terminal.send_str("ls")
    return (await terminal.receive(timeout=5)).type is WSMsgType.TEXT


@attack(
    15,
    does="Leaves a terminal and an event stream open, and goes on in them after the logout.",
    stopped_by=Defence(
        "what is open ends with its session",
        "sidecar.flows.held_open:HeldOpen.ended",
        is_always(None),
    ),
)
async def terminal_after_logout(lab: Lab) -> bool:
    async with lab.world() as here:
        browser = await here.logged_in()
        terminal = await browser.http.ws_connect(
            browser.base + "/terminal", headers={"Origin": here.base}
        )
        events = await browser.http.get(
            browser.base + STREAM, headers={"Accept": "text/event-stream"}
        )
        await eventually(lambda: here.argocd.open_streams == 1)

        await browser.get("/auth/logout")

        here.argocd.emit({"type": "MODIFIED", "application": {"metadata": {"name": "late"}}})
        answers = not terminal.closed and await _answers_or_ends(terminal)
        late = b"late" in await _rest(events, here)
        await terminal.close()
        events.close()
        return answers or late


async def _answers_or_ends(terminal: ClientWebSocketResponse) -> bool:
    try:
        return await _still_answers(terminal)
    except (ConnectionError, RuntimeError):
        return False


async def _rest(events: Any, here: World) -> bytes:
    """What still comes in an event stream, up to its end or the event that was sent last."""
    got = b""
    try:
        while b"late" not in got and (part := await events.content.readany()):
            got += part
    except ConnectionError:
        pass
    return got


def _clears_a_cookie_only(_: Any) -> Any:
    async def leave(*_: Any) -> str:
        return ""

    return leave


async def _use_without_end(lab: Lab) -> None:
    """A browser that logs out is nobody, whatever became of its session."""
    async with lab.world() as here:
        browser = await here.logged_in()
        assert await who(browser) == VICTIM
        assert (await browser.get("/auth/logout")).status == 303
        assert not browser.session()
        assert await who(browser) == ""


@attack(
    10,
    does="Goes on with a session cookie that was stolen before the logout.",
    stopped_by=Defence(
        "the session ends in the store, not the cookie alone",
        "sidecar.flows.logout:Logout._leave",
        _clears_a_cookie_only,
    ),
    use=_use_without_end,
)
async def stolen_cookie_after_logout(lab: Lab) -> bool:
    async with lab.world() as here:
        browser = await here.logged_in()
        stolen = browser.session()

        await browser.get("/auth/logout")

        return await whoever_has(here, stolen) == VICTIM


@attack(
    10,
    does="Goes on with a refresh token that was stolen (from a backup of the store, with its key) "
    "before the logout.",
    stopped_by=Defence(
        "the refresh token is revoked",
        "sidecar.flows.revocation:Revocations.begin",
        is_always(None),
    ),
)
async def stolen_refresh_token_after_logout(lab: Lab) -> bool:
    async with lab.world() as here:
        browser = await here.logged_in()
        grants = here.provider._grants
        (stolen,) = grants._families

        await browser.get("/auth/logout")
        await here.settled()

        try:
            return bool(grants.refresh(stolen).access_token)
        except OAuthError:
            return False


def _keeps_tokens(original: Any) -> Any:
    def _pass(gate: Any, asked: Any, seen: Any, credential: Any, **named: Any) -> Any:
        return original(gate, asked, seen, credential, **{**named, "drop_tokens": False})

    return _pass


@attack(
    10,
    does="After a session's end brings an old ID token, which Argo CD 3.4.6 and later may renew.",
    stopped_by=Defence(
        "an ended session sends no token up", "sidecar.proxy.gate:Gate._pass", _keeps_tokens
    ),
)
async def expired_token_goes_up(lab: Lab) -> bool:
    async with lab.world() as here:
        browser = await here.logged_in()
        session = browser.session()
        await browser.get("/auth/logout")
        await here.settled()
        here.argocd.seen.cookie_names.clear()

        echo = await (await here.browser()).get(
            "/api/webhook", headers={"Cookie": f"argocd.token=a.b.c; {named(here, session)}"}
        )

        assert echo.status == 200
        return "argocd.token" in here.argocd.seen.cookie_names


def groups_in(cookies: str) -> list[str]:
    """The groups in the token that went up."""
    token = cookies.partition("argocd.token=")[2]
    return list(payload(token)["groups"]) if token else []


def _the_same_as_ever(_: Any) -> Any:
    """The pass of the request before, whatever became of its session's token."""

    def same_again(_gate: Any, _asked: Any, _memory: Any, before: Any) -> Any:
        return before

    return same_again


async def _use_without_renewal(lab: Lab) -> None:
    """Before a token's end all is as it was."""
    async with lab.world() as here:
        browser = await here.logged_in()
        for _ in range(3):
            assert (await browser.get(API)).status == 200
            assert await who(browser) == VICTIM


@attack(
    19,
    does="Was taken out of a group, and goes on with the token that still names it.",
    stopped_by=(
        Defence(
            "a request is the same again with the same token only",
            "sidecar.proxy.gate:Gate._same_again",
            _the_same_as_ever,
        ),
        Defence(
            "right before it goes up, the session and its token are looked at once more",
            "sidecar.proxy.gate:Gate.may_go_up",
            is_always(True),
        ),
    ),
    use=_use_without_renewal,
)
async def old_groups(lab: Lab) -> bool:
    async with lab.world() as here:
        browser = await here.logged_in()
        here.provider.script.append(Change(claims={"groups": ["others"]}))
        await cookies_upstream(browser)
        here.clock.advance(250)
        await cookies_upstream(browser)  # it is renewed behind this one
        await here.settled()

        sent = await cookies_upstream(browser)

        return "developers" in groups_in(sent)


def _without_sec_fetch_site(original: Any) -> Any:
    async def end_session(endpoints: Any, request: web.BaseRequest, *args: Any) -> Any:
        fields = {n: v for n, v in request.headers.items() if n != "Sec-Fetch-Site"}
        return await original(endpoints, request.clone(headers=fields), *args)

    return end_session


@attack(
    13,
    does="Has a picture on another page, or on a sibling site's, whose address is the logout.",
    stopped_by=Defence(
        "what another site asks for gets a page that asks back (`Sec-Fetch-Site`)",
        "sidecar.web.auth:AuthEndpoints._end_session",
        _without_sec_fetch_site,
    ),
)
async def cross_site_logout(lab: Lab) -> bool:
    async with lab.world() as here:
        browser = await here.logged_in()
        for site in ("cross-site", "same-site"):
            await browser.get("/auth/logout", headers={"Sec-Fetch-Site": site})
        return not browser.session()


@attack(
    19,
    15,
    does="Was taken out of a group, and keeps an event stream open that began before.",
    stopped_by=Defence(
        "what was opened with other groups ends",
        "sidecar.flows.held_open:HeldOpen.has_tokens",
        is_always(None),
    ),
)
async def stream_with_old_groups(lab: Lab) -> bool:
    async with lab.world() as here:
        browser = await here.logged_in()
        accept = {"Accept": "text/event-stream"}
        events = await browser.http.get(browser.base + STREAM, headers=accept)
        await eventually(lambda: here.argocd.open_streams == 1)
        here.provider.script.append(Change(claims={"groups": ["others"]}))
        here.clock.advance(250)
        await who(browser)  # the token is renewed behind this one
        await here.settled()

        here.argocd.emit({"type": "MODIFIED", "application": {"metadata": {"name": "late"}}})
        late = b"late" in await _rest(events, here)
        events.close()
        return late
