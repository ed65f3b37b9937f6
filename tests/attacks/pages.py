"""Attacks by what comes back: pages in frames, secrets in addresses, answers and metrics."""

import logging
from typing import Any

from aiohttp import web

from tests.attacks.attack import Defence, attack
from tests.attacks.lab import API, Lab, begun, metrics
from tests.web.raw import http, raw_upstream
from tests.world import PAGE


def _without(name: str) -> Any:
    return lambda fields: [field for field in fields if field[0] != name]


@attack(
    18,
    does="Reads a code from the `Referer` that a page at the callback's address sends along.",
    stopped_by=Defence(
        "pages send no `Referer`", "sidecar.core.answers:_PAGE_FIELDS", _without("Referrer-Policy")
    ),
)
async def code_in_a_referer(lab: Lab) -> bool:
    async with lab.world() as here:
        browser = await here.browser()
        callback, _ = await begun(browser)

        page = await (await here.browser()).get(callback, headers=PAGE)

        return page.headers.get("Referrer-Policy") != "no-referrer"


@attack(
    13,
    does="Puts the page that asks about a logout into a frame, under a button of their own.",
    stopped_by=Defence(
        "no page frames ours (`frame-ancestors`)",
        "sidecar.core.answers:_PAGE_FIELDS",
        _without("Content-Security-Policy"),
    ),
)
async def framed_page(lab: Lab) -> bool:
    async with lab.world() as here:
        browser = await here.logged_in()

        page = await browser.get("/auth/logout", headers={**PAGE, "Sec-Fetch-Site": "cross-site"})

        return "frame-ancestors 'none'" not in page.headers.get("Content-Security-Policy", "")


def _as_they_come(_: Any) -> Any:
    return lambda fields: list(fields)


@attack(
    18,
    does="Reads, with a script in Argo CD's page, the token that Argo CD itself gives back.",
    stopped_by=Defence(
        "an answer for a session loses Argo CD's tokens",
        "sidecar.proxy.gate:without_renewed_token",
        _as_they_come,
    ),
)
async def token_in_an_answer(lab: Lab) -> bool:
    answer = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: argocd.token=secret; path=/\r\n"
        b"Grpc-Metadata-Renew-Token: secret\r\n\r\nok"
    )
    async with (
        raw_upstream(answer) as upstream,
        lab.world(environment={"SIDECAR_UPSTREAM": upstream.address}) as here,
    ):
        browser = await here.logged_in()

        got = await browser.get(API)

        return "secret" in str(got.headers)


class _Everything(frozenset[str]):
    def __contains__(self, _: object) -> bool:
        return True


@attack(
    18,
    25,
    does="Sends errors with made-up names to the callback: they would become a metric's labels.",
    stopped_by=Defence(
        "only the standard's words become labels",
        "sidecar.core.authorization:_ERRORS",
        lambda _: _Everything(),
    ),
)
async def made_up_errors(lab: Lab) -> bool:
    async with lab.world() as here:
        browser = await here.browser()
        callback, _ = await begun(browser)

        await browser.get(f"{callback}&error=planted_secret")

        return "planted_secret" in await metrics(here)


class _Written(logging.Handler):
    """What the libraries log, as it would be written."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text += self.format(record)


@attack(
    18,
    does="Breaks a request in the middle of a form, so that the error quotes it, in the log too.",
    stopped_by=Defence(
        "an error is answered and logged by its kind alone",
        "sidecar.web.server:_Connection.handle_error",
        lambda _: web.RequestHandler.handle_error,
    ),
)
async def secret_in_an_error(lab: Lab) -> bool:
    written = _Written()
    logging.getLogger("aiohttp.server").addHandler(written)
    try:
        async with lab.world() as here:
            answer = await http(
                here,
                "POST /auth/backchannel-logout HTTP/1.1\r\nHost: x\r\n"
                "Content-Type: application/x-www-form-urlencoded\r\n"
                "Transfer-Encoding: chunked\r\n\r\nplanted_secret\r\n\r\n",
            )
    finally:
        logging.getLogger("aiohttp.server").removeHandler(written)
    assert answer.status == 400
    assert written.text
    return b"planted_secret" in answer.body or "planted_secret" in written.text
