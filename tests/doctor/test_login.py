"""`--login`: a whole login with refreshes, and the ways in which a provider spoils it."""

import json
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession, web
from yarl import URL

from sidecar.app import SystemClock
from sidecar.config.settings import Config
from sidecar.demo.misbehaviour import HONEST, Answer, Change
from sidecar.doctor.findings import Finding, Level
from sidecar.doctor.forms import form_to_fill
from sidecar.doctor.login import of_login
from sidecar.doctor.login_look import IdTokenSeen, LoginSeen, Refreshed, look_at_login
from sidecar.doctor.run import TrialLogin
from sidecar.doctor.signing_in import Returned, User
from tests.doctor.patient import PUBLIC_URL, Patient, nobody
from tests.real.oidc_provider import real_provider

ADA = User("ada", "ada")
REFUSED = Answer(status=400, body=json.dumps({"error": "invalid_grant"}))
# What the token endpoint is asked: a made-up code, the code, a refresh, one with a wrong secret,
# a refresh, a spent token.
BEFORE_REFRESH = [HONEST, HONEST]


@pytest.fixture
async def here(here: Patient) -> Patient:
    here.trial = TrialLogin(ADA, nobody)
    return here


def of(findings: list[Finding], name: str) -> Finding:
    (found,) = [each for each in findings if each.id == f"login.{name}"]
    return found


async def test_doctor_finds_nothing_wrong_with_a_healthy_login(here: Patient) -> None:
    assert await here.complaints() == {}
    assert here.provider.logins == 1
    assert here.provider.refreshes == 2


async def test_doctor_finds_a_login_without_a_refresh_token(here: Patient) -> None:
    found = await here.complaints(SIDECAR_OFFLINE_ACCESS="never")

    assert set(found) == {"provider.refresh_token", "login.refresh_token"}
    assert found["login.refresh_token"].level is Level.FAULT


async def test_doctor_finds_a_user_who_cannot_sign_in(here: Patient) -> None:
    here.trial = TrialLogin(User("ada", "a-wrong-password"), nobody)

    found = await here.complaints()

    assert set(found) == {"login.flow"}
    assert "does not take this user and password" in found["login.flow"].what
    assert "a-wrong-password" not in repr(found)


async def test_doctor_finds_a_refresh_without_an_id_token(here: Patient) -> None:
    here.provider.script.extend([*BEFORE_REFRESH, Change(members={"id_token": None})])

    found = await here.complaints(SIDECAR_PROVIDER="pingfederate")

    assert found["login.renewed"].level is Level.FAULT
    assert "Return ID Token On Refresh Grant" in found["login.renewed"].mend


async def test_doctor_finds_a_refresh_that_loses_the_groups(here: Patient) -> None:
    here.provider.script.extend([*BEFORE_REFRESH, Change(claims={"groups": None})])

    assert set(await here.complaints()) == {"login.renewed"}


async def test_doctor_finds_an_id_token_without_groups(here: Patient) -> None:
    none = Change(claims={"groups": None})
    here.provider.script.extend([HONEST, none, none, none, none])

    found = await here.complaints()

    assert set(found) == {"login.groups"}
    assert "argocd-rbac-cm" in found["login.groups"].why


async def test_doctor_finds_a_refresh_that_is_refused(here: Patient) -> None:
    here.provider.script.extend([*BEFORE_REFRESH, REFUSED])

    found = await here.complaints()

    assert set(found) == {"login.refresh"}
    assert "invalid_grant" in found["login.refresh"].what


async def test_doctor_finds_an_id_token_that_nobody_has_signed(here: Patient) -> None:
    here.provider.script.extend([HONEST, Change(forged=True)])

    found = await here.complaints()

    assert set(found) == {"login.flow"}
    assert "signature" in found["login.flow"].what


async def test_doctor_finds_that_argo_cd_does_not_take_the_id_token(here: Patient) -> None:
    here.argocd.settings.allowed_audiences = ("another",)

    found = await here.complaints()

    assert set(found) == {"login.argocd"}
    assert "allowedAudiences" in found["login.argocd"].mend


async def test_doctor_finds_a_provider_whose_wrong_secret_looks_like_an_end(here: Patient) -> None:
    here.provider.script.extend([*BEFORE_REFRESH, HONEST, REFUSED])

    assert set(await here.complaints()) == {"login.wrong_secret"}


async def test_doctor_finds_a_reuse_window_that_is_shorter_than_known(here: Patient) -> None:
    found = await here.complaints(SIDECAR_PROVIDER="okta")

    assert set(found) == {"login.reuse"}
    assert "grace period of 30 seconds" in found["login.reuse"].mend


async def test_doctor_measures_the_reuse_window(here: Patient) -> None:
    here.provider.settings.reuse_window_seconds = 5

    found = await here.findings()

    assert of(found, "reuse").what == "a spent token is taken for 2 s or more, then refused"


async def test_doctor_says_that_a_token_does_not_rotate_and_revokes_it(here: Patient) -> None:
    here.provider.settings.rotates = False

    found = await here.findings()

    assert "does not rotate" in of(found, "rotation").what
    assert [event.detail for event in here.provider.log if event.kind == "revoked"] == [
        "revoked by the client"
    ]


async def test_doctor_leaves_a_page_that_it_does_not_know_to_a_person(here: Patient) -> None:
    known = here.front.document["authorization_endpoint"]
    script = "<!doctype html><script src=app.js></script>"
    here.front.answers["/sign-in"] = lambda: web.Response(text=script, content_type="text/html")
    here.front.document["authorization_endpoint"] = f"{here.front.issuer}/sign-in"

    async def person(url: str) -> str:
        form, address = {"user": "ada", "password": "ada"}, f"{known}?{urlsplit(url).query}"
        async with (
            ClientSession() as browser,
            browser.post(URL(address, encoded=True), data=form, allow_redirects=False) as done,
        ):
            return done.headers["Location"] + "\n"

    here.trial = TrialLogin(ADA, person)

    assert await here.complaints() == {}


async def test_doctor_gives_the_password_to_no_other_site(here: Patient) -> None:
    form = (
        '<form method="post" action="https://elsewhere.invalid/"><input type="password" name="p">'
    )
    here.front.answers["/sign-in"] = lambda: web.Response(text=form, content_type="text/html")
    here.front.document["authorization_endpoint"] = f"{here.front.issuer}/sign-in"
    asked = []

    async def person(url: str) -> str:
        asked.append(url)
        return ""

    here.trial = TrialLogin(ADA, person)
    found = await here.complaints()

    assert len(asked) == 1
    assert set(found) == {"login.flow"}
    assert "no address" in found["login.flow"].what


async def test_doctor_begins_no_login_where_discovery_is_broken(here: Patient) -> None:
    here.front.document["issuer"] += "/"

    assert set(await here.complaints()) == {"provider.issuer", "login.flow"}


@pytest.mark.real
async def test_doctor_logs_in_at_the_real_provider_by_its_own_pages(here: Patient) -> None:
    async with real_provider([f"{PUBLIC_URL}/auth/callback"]) as provider:
        config = Config.load(
            {
                **here.environment,
                "SIDECAR_ISSUER": provider.issuer,
                "SIDECAR_CLIENT_ID": provider.client_id,
                "SIDECAR_CLIENT_SECRET": provider.client_secret,
                "SIDECAR_OFFLINE_ACCESS": "consent",
            }
        )
        seen = await look_at_login(config, ADA, nobody, SystemClock())

    found = {each.id: each for each in of_login(seen)}
    assert found["login.refresh"].level is Level.OK
    assert found["login.renewed"].level is Level.OK
    assert "invalid_client" in found["login.wrong_secret"].what
    assert found["login.reuse"].what.endswith("the whole login is over")


GOOD = Refreshed(rotated=True, id_token=IdTokenSeen(300.0, ("dev",)))
SEEN = LoginSeen(
    Returned("code"),
    id_token=IdTokenSeen(300.0, ("dev",)),
    argocd_takes_it=True,
    has_refresh_token=True,
    refreshes=(GOOD, GOOD),
    wrong_secret=Refreshed("invalid_client"),
    reuse_refused=True,
    lives_on=True,
)


def test_doctor_finds_a_provider_that_takes_any_secret() -> None:
    careless = LoginSeen(
        Returned("code"), id_token=SEEN.id_token, has_refresh_token=True, wrong_secret=Refreshed()
    )

    levels = {each.id: each.level for each in of_login(careless)}

    assert levels["login.wrong_secret"] is Level.WARNING


def test_doctor_says_what_a_spent_token_does() -> None:
    (reuse,) = [each for each in of_login(SEEN) if each.id == "login.reuse"]

    assert reuse.what == "a spent token is refused at once, and then the newest one goes on"


def test_doctor_fills_in_dexs_form_and_its_consent() -> None:
    login = form_to_fill(
        '<form method="post" action="/dex/auth/local/login?back=&amp;state=abc">'
        '<input id="login" name="login" type="text"><input name="password" type="password">'
        '<button id="submit-login" type="submit">Login</button></form>',
        "https://dex.example.org/dex/auth/local/login?state=abc",
    )
    consent = form_to_fill(
        '<form method="post"><input type="hidden" name="req" value="r1">'
        '<input type="hidden" name="approval" value="approve"><button type="submit">Grant</button>'
        '</form><form method="post"><input type="hidden" name="req" value="r1">'
        '<input type="hidden" name="approval" value="rejected"></form>',
        "https://dex.example.org/dex/approval?req=r1",
    )

    assert login is not None
    assert login.action == "https://dex.example.org/dex/auth/local/login?back=&state=abc"
    assert login.filled("ada", "pw") == {"login": "ada", "password": "pw"}
    assert consent is not None
    assert consent.filled("ada", "pw") == {"req": "r1", "approval": "approve"}


def test_doctor_fills_in_keycloaks_form() -> None:
    url = "https://kc.example.org/realms/a/login-actions/authenticate?session_code=x&amp;tab_id=y"
    form = form_to_fill(
        f'<form id="kc-form-login" action="{url}" method="post">'
        '<input name="username" type="text" autofocus><input name="password" type="password">'
        '<input id="rememberMe" name="rememberMe" type="checkbox">'
        '<input type="hidden" name="credentialId">'
        '<input name="login" type="submit" value="Sign In"></form>',
        "https://kc.example.org/",
    )

    assert form is not None
    assert form.action.endswith("?session_code=x&tab_id=y")
    assert form.filled("ada", "pw") == {
        "username": "ada",
        "password": "pw",
        "credentialId": "",
        "login": "Sign In",
    }


def test_doctor_finds_no_form_on_a_page_by_script() -> None:
    page = "<!doctype html><div id=root></div><form action=/search><input name=q></form>"

    assert form_to_fill(page, "https://idp.example.org/") is None
