"""Attacks with ID tokens: forged, foreign, old, odd ones, at a login and at a refresh."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sidecar.demo.jwks import base64url
from sidecar.demo.misbehaviour import Change
from sidecar.errors import TokenInvalid
from tests.attacks.attack import Defence, attack, becomes, is_always
from tests.attacks.lab import (
    ATTACKER,
    MIRROR,
    Lab,
    begun,
    cookies_upstream,
    metrics,
    mirrored_use,
    who,
)
from tests.world import World

Claims = dict[str, Any]


def payload(id_token: str) -> Claims:
    """What a token says, whoever wrote it."""
    part = id_token.split(".")[1]
    found = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return dict(found)


def unchecked(original: Any) -> Any:
    return lambda id_token, alg, keys: payload(id_token)


def _as_its_header_says(original: Any) -> Any:
    """Reads a token by the algorithm that it names itself, with whatever key there is."""

    def read(id_token: str, alg: str, keys: Any) -> Claims:
        signed, _, mac = id_token.rpartition(".")
        if alg == "none":
            return payload(id_token)
        if alg == "HS256" and any(mac == _hmac(_pem(k.public_key), signed) for k in keys):
            return payload(id_token)
        found: Claims = original(id_token, alg, keys)
        return found

    return read


def _pem(key: Any) -> bytes:
    found: bytes = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return found


def _hmac(key: bytes, text: str) -> str:
    return base64url(hmac.new(key, text.encode(), hashlib.sha256).digest())


ANY_ALGORITHM = (
    Defence(
        "a fixed list of asymmetric algorithms",
        "sidecar.core.id_token:ALGORITHMS",
        lambda known: known | {"none", "HS256"},
    ),
    Defence(
        "a key is used for its own kind of signature",
        "sidecar.core.id_token:signed_claims",
        _as_its_header_says,
    ),
)
SIGNATURE = Defence(
    "the signature is checked before any claim is read",
    "sidecar.core.id_token:signed_claims",
    unchecked,
)


def _without_check_of(claim: str, good: Callable[[Any, float], Any]) -> Defence:
    """No check of one claim: it always has a good value."""

    def instead(original: Any) -> Any:
        def check(claims: Claims, header: Claims, expected: Any, now: float) -> None:
            original({**claims, claim: good(expected, now)}, header, expected, now)

        return check

    return Defence(f"`{claim}` is checked", "sidecar.core.id_token:_check_claims", instead)


async def _login_gets(lab: Lab, change: Change) -> bool:
    """Whether a login is finished though the provider's answer is changed."""
    async with lab.world() as here:
        browser = await here.browser()
        callback = await browser.sign_in()
        here.provider.script.append(change)
        await browser.get(callback)
        return bool(browser.session())


async def _login_gets_token(lab: Lab, make: Callable[[World, Claims], str]) -> bool:
    """Whether a login is finished with a token that the attacker made."""
    async with lab.world() as here:
        browser = await here.browser()
        callback, asked = await begun(browser)
        now = int(here.clock.now())
        claims = {
            "iss": here.provider.issuer, "aud": asked["client_id"], "nonce": asked["nonce"],
            "sub": "admin", "iat": now, "exp": now + 300,
        }  # fmt: skip
        here.provider.script.append(Change(members={"id_token": make(here, claims)}))
        await browser.get(callback)
        return bool(browser.session())


@attack(
    8,
    does="Stands between sidecar and provider, and answers with a token that nobody signed.",
    stopped_by=SIGNATURE,
)
async def forged_signature(lab: Lab) -> bool:
    return await _login_gets(lab, Change(forged=True))


@attack(8, does="The same with a token that says `alg: none`.", stopped_by=ANY_ALGORITHM)
async def unsigned_token(lab: Lab) -> bool:
    return await _login_gets_token(lab, lambda _, claims: jwt.encode(claims, "", algorithm="none"))


@attack(
    8,
    does="Signs with HMAC, and for the secret takes the provider's public key (`alg: HS256`).",
    stopped_by=ANY_ALGORITHM,
)
async def public_key_as_a_secret(lab: Lab) -> bool:
    def make(_: World, claims: Claims) -> str:
        parts = ({"alg": "HS256", "typ": "JWT"}, claims)
        signed = ".".join(base64url(json.dumps(part).encode()) for part in parts)
        return f"{signed}.{_hmac(_pem(lab.key.public_key()), signed)}"

    return await _login_gets_token(lab, make)


@attack(
    8,
    does="Brings a good token of the same provider that is for another client.",
    stopped_by=_without_check_of("aud", lambda expected, _: expected.client_id),
)
async def wrong_audience(lab: Lab) -> bool:
    return await _login_gets(lab, Change(claims={"aud": "another-client"}))


@attack(
    8,
    does="Brings a token for several clients, given to another one of them (`azp`).",
    stopped_by=_without_check_of("azp", lambda expected, _: expected.client_id),
)
async def wrong_party(lab: Lab) -> bool:
    return await _login_gets(lab, Change(claims={"aud": ["argo-cd", "x"], "azp": "x"}))


@attack(
    8,
    does="Brings a token of another issuer that has the same keys (another tenant, another realm).",
    stopped_by=_without_check_of("iss", lambda expected, _: expected.issuer),
)
async def other_issuer(lab: Lab) -> bool:
    return await _login_gets(lab, Change(claims={"iss": "https://evil.example"}))


@attack(
    8,
    does="Brings a token that ended long ago.",
    stopped_by=_without_check_of("exp", lambda _, now: now + 300),
)
async def expired_token(lab: Lab) -> bool:
    return await _login_gets(lab, Change(claims={"exp": 1_700_000_000}))


@attack(
    8,
    does="Puts another access token beside a good ID token (`at_hash`).",
    stopped_by=Defence(
        "`at_hash` belongs to the access token",
        "sidecar.flows.login:Expected",
        lambda original: lambda **named: original(**{**named, "access_token": ""}),
    ),
)
async def swapped_access_token(lab: Lab) -> bool:
    return await _login_gets(lab, Change(members={"access_token": "another"}))


def _any_subject(original: Any) -> Any:
    return lambda **named: original(**{**named, "subject": "", "user_tag": ""})


@attack(
    9,
    does="Has the provider answer a refresh with another user's token (OpenID Connect Core 12.2).",
    stopped_by=Defence(
        "a refreshed token has the login's subject", "sidecar.flows.renewal:Expected", _any_subject
    ),
)
async def anothers_token_at_a_refresh(lab: Lab) -> bool:
    async with lab.world() as here:
        browser = await here.logged_in()
        other = Change(claims={"sub": "mallory", "email": ATTACKER})
        here.provider.script.append(other)
        here.clock.advance(400)

        return await who(browser) == ATTACKER


@attack(
    9,
    does="Stands between sidecar and provider at a refresh, and puts `admins` into the groups.",
    stopped_by=SIGNATURE,
)
async def forged_token_at_a_refresh(lab: Lab) -> bool:
    async with lab.world() as here:
        browser = await here.logged_in()
        here.provider.script.append(Change(claims={"groups": ["admins"]}, forged=True))
        here.clock.advance(250)
        await browser.get("/api/version")
        await here.settled()

        sent = (await cookies_upstream(browser)).partition("argocd.token=")[2]
        return "admins" in payload(sent)["groups"]


@attack(
    8,
    10,
    does="Takes the copy of the token that browsers have in mirror mode, and leaves the session.",
    stopped_by=Defence(
        "without a session only Argo CD's own tokens go up in mirror mode",
        "sidecar.core.cookies:says_local",
        is_always(True),
    ),
    use=mirrored_use,
)
async def copied_token(lab: Lab) -> bool:
    async with lab.world(environment=MIRROR) as here:
        browser, thief = await here.logged_in(), await here.browser()
        await browser.get("/api/v1/applications")
        copy = f"argocd.token={browser.cookies()['argocd.token']}"

        return await who(thief, headers={"Cookie": copy}) != ""


@attack(
    21,
    does="Gives a token an end in some million years, so that it is never renewed.",
    stopped_by=Defence(
        "an instant has a bound", "sidecar.core.id_token:LATEST_INSTANT", becomes(10**18)
    ),
)
async def endless_token(lab: Lab) -> bool:
    return await _login_gets(lab, Change(claims={"exp": 10**15}))


def _decrypting(key: rsa.RSAPrivateKey) -> Callable[[Any], Any]:
    """A reader of encrypted tokens that tells a bad padding from a bad content (CVE-2026-28490)."""

    def instead(original: Any) -> Any:
        def read(id_token: str) -> Any:
            parts = id_token.split(".")
            if len(parts) != 5:
                return original(id_token)
            sealed = base64.urlsafe_b64decode(parts[1] + "==")
            # OpenSSL itself no longer tells: of a bad padding it makes a key of any length.
            whole = len(key.decrypt(sealed, padding.PKCS1v15())) == 32
            raise TokenInvalid("content" if whole else "padding")

        return read

    return instead


_JWE_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@attack(
    26,
    does="Sends encrypted tokens (RSA1_5) with good and bad padding, and looks for a difference.",
    stopped_by=Defence(
        "a token has three parts and a signature; nothing is decrypted",
        "sidecar.core.id_token:read_header",
        _decrypting(_JWE_KEY),
    ),
)
async def padding_oracle(lab: Lab) -> bool:
    good = _JWE_KEY.public_key().encrypt(b"k" * 32, padding.PKCS1v15())
    bad = (int.from_bytes(good) ^ 1).to_bytes(256)
    header = base64url(b'{"alg":"RSA1_5","enc":"A256GCM"}')
    told = []
    for sealed in (good, bad):
        async with lab.world() as here:
            browser = await here.browser()
            callback, _ = await begun(browser)
            id_token = f"{header}.{base64url(sealed)}.{'A' * 16}.AAAA.{'A' * 22}"
            here.provider.script.append(Change(members={"id_token": id_token}))
            answer = await browser.get(callback)
            counted = [
                line for line in (await metrics(here)).splitlines() if "logins_total{" in line
            ]
            told.append((answer.status, counted))
    return told[0] != told[1]
