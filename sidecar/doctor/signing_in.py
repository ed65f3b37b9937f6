"""A test user's way from the authorization request to the code, by the provider's own pages."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

from aiohttp import ClientSession, CookieJar
from yarl import URL

from sidecar import edges
from sidecar.adapters.provider_http import Way, egress_proxy, provider_session
from sidecar.config.settings import Config
from sidecar.core.authorization import origin, read_authorization_response
from sidecar.doctor.addresses import host_of, is_loopback
from sidecar.doctor.fetch import SECONDS, Page, asked
from sidecar.doctor.forms import Form, form_to_fill
from sidecar.errors import LoginRefused
from sidecar.ports import Clock

_MOST_STEPS = 20

ByHand = Callable[[str], Awaitable[str]]
"""Has a person open an address; gives the address at which their browser ends."""


@dataclass(frozen=True, slots=True)
class User:
    """Who signs in."""

    name: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Returned:
    """How the provider sent the browser back: by a code, or else why not."""

    code: str = field(default="", repr=False)
    refused: str = ""
    by_hand: bool = False


class _Unknown(Exception):
    """A page that only a person can deal with."""


async def signed_in(
    config: Config, url: str, redirect_uri: str, user: User | None, by_hand: ByHand, clock: Clock
) -> Returned:
    """The answer to an authorization request at `url`, by form where the page is known."""
    if user is not None:
        try:
            return _returned(await _by_form(config, url, redirect_uri, user, clock))
        except _Unknown:
            pass
        except _Refused as error:
            return Returned(refused=str(error))
    ended_at = (await by_hand(url)).strip()
    if not ended_at.startswith(redirect_uri):
        return Returned(refused="no address of the redirect URI was given", by_hand=True)
    returned = _returned(ended_at)
    return Returned(returned.code, returned.refused, by_hand=True)


class _Refused(Exception):
    """What the provider did in the place of sending the browser back, as a sentence."""


def _returned(location: str) -> Returned:
    try:
        response = read_authorization_response(parse_qsl(urlsplit(location).query))
    except LoginRefused as error:
        return Returned(refused=str(error))
    if response.error or not response.code:
        word = response.error if response.error.replace("_", "").isalpha() else "no code"
        return Returned(refused=f"the provider sent back {word[:60]}")
    return Returned(response.code)


async def _by_form(config: Config, url: str, redirect_uri: str, user: User, clock: Clock) -> str:
    """The address that the provider sends the browser to at the end."""
    home, gave_password = origin(url), False
    # The name in a certificate inside is none of a browser's.
    way = Way(edges.provider_tls_context(config), resolve=edges.resolved(config))
    jar = CookieJar(unsafe=True)
    async with provider_session(total_seconds=SECONDS, way=way, cookie_jar=jar) as http:
        page = await _begun(config, http, url, clock)
        for _ in range(_MOST_STEPS):
            if page.location:
                url = urljoin(url, page.location)
                if url.startswith(redirect_uri):
                    return url
                page = await _asked(http, "GET", url, clock)
                continue
            form = _form(page, url)
            _check_destination(form, home)
            if form.password and gave_password:
                raise _Refused("the provider does not take this user and password")
            gave_password = gave_password or bool(form.password)
            url = form.action
            sent = form.filled(user.name, user.password)
            page = await _asked(http, "POST", url, clock, data=sent)
    raise _Refused("the provider leads from page to page without an end")


async def _begun(config: Config, http: ClientSession, url: str, clock: Clock) -> Page:
    """The first page; where browsers go may be closed to a pod that has an address of its own."""
    try:
        return await _asked(http, "GET", url, clock)
    except _Refused:
        if config.issuer_internal_url:
            raise _Unknown from None
        raise


def _form(page: Page, url: str) -> Form:
    if page.status >= 400:
        raise _Refused(f"the provider answers {page.status} at {host_of(url)}")
    form = form_to_fill(page.body.decode("utf-8", "replace"), url)
    if form is None:
        raise _Unknown
    return form


def _check_destination(form: Form, home: str) -> None:
    """A password goes to the provider itself, by TLS or on this machine: to nobody else."""
    safe = form.action.startswith("https:") or is_loopback(host_of(form.action))
    if origin(form.action) != home or not safe:
        raise _Unknown


async def _asked(http: ClientSession, method: str, url: str, clock: Clock, **options: Any) -> Page:
    page = await asked(
        http, method, URL(url, encoded=True), clock, proxy=egress_proxy(url), **options
    )
    if page.problem is not None:
        raise _Refused(f"{host_of(url)} {page.problem}")
    return page
