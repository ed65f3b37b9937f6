"""Attacks by machines, and with their tokens."""

import asyncio
import base64
import functools
import hashlib
import hmac
import json
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sidecar.core.bearer_tokens import Header
from sidecar.core.cookies import CookieJar
from sidecar.core.machine_rules import TrustedIssuer
from sidecar.flows.issuer_keys import OLD_SECONDS
from tests.attacks.attack import Defence, attack, becomes, is_always
from tests.attacks.lab import Lab
from tests.fakes.github import base64url, signed
from tests.machines.yard import API, Yard, yard

_Issuer = Callable[[dict[str, Any], TrustedIssuer], TrustedIssuer]


@functools.lru_cache(maxsize=1)
def _github_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@asynccontextmanager
async def _yard(lab: Lab, **issuer: Any) -> AsyncIterator[Yard]:
    with tempfile.TemporaryDirectory() as folder:
        async with yard(lab.key, _github_key(), Path(folder), issuer=issuer) as made:
            yield made


async def machine_use(lab: Lab) -> None:
    """What jobs do all day: it works."""
    async with _yard(lab) as place:
        token = place.github.token()
        assert [(await place.ask(token=token, target=API)).status for _ in range(2)] == [200, 200]
        other = place.github.token(repository="octo-org/other")
        assert (await place.ask(token=other, target=API)).status == 403
        assert await place.who(token=place.api_token) == "admin"


async def _gets_in(place: Yard, token: str) -> bool:
    return (await place.ask(token=token, target=API)).status == 200


def _payload(token: str) -> dict[str, Any]:
    return dict(json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "===")))


def _any_header(_: Any) -> Any:
    """A header as it is, whatever its issuer may use."""

    def read(token: str, issuer: TrustedIssuer) -> Header:
        found = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "==="))
        return Header(found["alg"], found.get("kid"))

    return read


def _header_with(**changes: Any) -> Callable[[Any], Any]:
    """A header with other parameters; None takes one out."""

    def instead(original: Any) -> Any:
        def read(token: str) -> dict[str, Any]:
            found = {**original(token), **changes}
            return {name: value for name, value in found.items() if value is not None}

        return read

    return instead


def _unchecked(_: Any) -> Any:
    return lambda token, alg, keys: json.dumps(_payload(token)).encode()


def _as_its_header_says(original: Any) -> Any:
    """Reads a token by the algorithm that it names itself, with whatever key there is."""

    def read(token: str, alg: str, keys: Any) -> bytes:
        text, _, mac = token.rpartition(".")
        made = {base64url(hmac.digest(_pem(k.public_key), text.encode(), "sha256")) for k in keys}
        if alg == "none" or (alg == "HS256" and mac in made):
            return json.dumps(_payload(token)).encode()
        found: bytes = original(token, alg, keys)
        return found

    return read


def _pem(key: Any) -> bytes:
    found: bytes = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return found


def _verified_as(change: _Issuer) -> Callable[[Any], Any]:
    """A verification for another issuer than the one that is trusted."""

    def instead(original: Any) -> Any:
        def verify(
            token: str, header: Header, keys: Any, issuer: TrustedIssuer, *, now: float
        ) -> Any:
            changed = change(_payload(token), issuer)
            return original(token, header, keys, changed, now=now)

        return verify

    return instead


VERIFY = "sidecar.core.bearer_tokens:verify"
ANY_ALGORITHM = (
    Defence(
        "an issuer's tokens have one of its algorithms, which are asymmetric",
        "sidecar.core.bearer_tokens:read_header",
        _any_header,
    ),
    Defence(
        "a key is used for its own kind of signature",
        "sidecar.core.bearer_tokens:signed_payload",
        _as_its_header_says,
    ),
)


@attack(
    27,
    does="Writes a token with the claims of somebody's job, and a signature of his own.",
    stopped_by=Defence(
        "the signature is checked before any claim is believed",
        "sidecar.core.bearer_tokens:signed_payload",
        _unchecked,
    ),
    use=machine_use,
)
async def forged_job(lab: Lab) -> bool:
    async with _yard(lab) as place:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        claims = json.dumps(place.github.claims()).encode()
        return await _gets_in(place, signed(key, place.github.header(), claims))


@attack(
    27,
    does="Leaves the signature of a job's token out: `alg` is `none`.",
    stopped_by=ANY_ALGORITHM,
    use=machine_use,
)
async def unsigned_job(lab: Lab) -> bool:
    async with _yard(lab) as place:
        head = base64url(json.dumps(place.github.header(alg="none")).encode())
        claims = base64url(json.dumps(place.github.claims()).encode())
        return await _gets_in(place, f"{head}.{claims}.")


@attack(
    27,
    does="Signs a job's token by HMAC, with the issuer's public key for a secret.",
    stopped_by=ANY_ALGORITHM,
    use=machine_use,
)
async def public_key_of_an_issuer_as_a_secret(lab: Lab) -> bool:
    async with _yard(lab) as place:
        head = base64url(json.dumps(place.github.header(alg="HS256")).encode())
        text = f"{head}.{base64url(json.dumps(place.github.claims()).encode())}"
        mac = hmac.digest(_pem(place.github.key.public_key()), text.encode(), hashlib.sha256)
        return await _gets_in(place, f"{text}.{base64url(mac)}")


@attack(
    27,
    does="Is another service that a job has shown its token to, and shows it to Argo CD.",
    stopped_by=Defence(
        "`aud` names one of the issuer's audiences",
        VERIFY,
        _verified_as(lambda claims, issuer: replace(issuer, audiences=(claims["aud"],))),
    ),
    use=machine_use,
)
async def token_for_another_service(lab: Lab) -> bool:
    async with _yard(lab) as place:
        return await _gets_in(place, place.github.token(aud="https://elsewhere.example.org"))


@attack(
    27,
    does="Finds a job's token in an old log.",
    stopped_by=Defence(
        "`exp` is checked", "sidecar.core.bearer_tokens:_check_times", is_always(float("inf"))
    ),
    use=machine_use,
)
async def token_of_a_job_that_has_ended(lab: Lab) -> bool:
    async with _yard(lab) as place:
        token = place.github.token()
        assert await _gets_in(place, token)
        place.here.clock.advance(600)
        return await _gets_in(place, token)


@attack(
    27,
    does="Has a token that lives for a year, where the operator wants young ones.",
    stopped_by=Defence(
        "a token is no older than `max_age`",
        VERIFY,
        _verified_as(lambda _, issuer: replace(issuer, max_age_seconds=None)),
    ),
    use=machine_use,
)
async def token_that_is_kept(lab: Lab) -> bool:
    async with _yard(lab, max_age="10m") as place:
        now = int(place.here.clock.now())
        return await _gets_in(place, place.github.token(iat=now - 3600, exp=now + 86400))


@attack(
    27,
    does="Has a token of another tenant, whose issuer has the same keys and differs by a slash.",
    stopped_by=Defence(
        "`iss` is the trusted issuer to the letter",
        VERIFY,
        _verified_as(lambda claims, issuer: replace(issuer, issuer=claims["iss"])),
    ),
    use=machine_use,
)
async def issuer_with_a_slash(lab: Lab) -> bool:
    async with _yard(lab) as place:
        return await _gets_in(place, place.github.token(iss=place.github.issuer + "/"))


@attack(
    27,
    does="Uses a token that its issuer has bound to a condition nobody here knows (`crit`).",
    stopped_by=(
        Defence(
            "a token with a critical header is refused",
            "sidecar.core.bearer_tokens:_header",
            _header_with(crit=None),
        ),
        Defence(
            "PyJWT takes none that it does not know",
            "jwt.api_jws:PyJWS._validate_crit",
            is_always(None),
        ),
    ),
    use=machine_use,
)
async def condition_that_is_not_understood(lab: Lab) -> bool:
    async with _yard(lab) as place:
        header = {"crit": ["only-from"], "only-from": "10.0.0.0/8"}
        return await _gets_in(place, place.github.token(header=header))


@attack(
    27,
    does="Uses another kind of token that the issuer has signed, a logout token.",
    stopped_by=Defence(
        "`typ` is one of the issuer's types",
        "sidecar.core.bearer_tokens:_header",
        _header_with(typ="JWT"),
    ),
    use=machine_use,
)
async def token_of_another_kind(lab: Lab) -> bool:
    async with _yard(lab) as place:
        return await _gets_in(place, place.github.token(header={"typ": "logout+jwt"}))


@attack(
    27,
    22,
    does="Has an issuer that copies without a look write a claim of his a second time.",
    stopped_by=Defence(
        "a name comes once in a token", "sidecar.core.strict_json:_once", lambda _: dict
    ),
    use=machine_use,
)
async def claim_that_comes_twice(lab: Lab) -> bool:
    async with _yard(lab) as place:
        claims = json.dumps(place.github.claims(repository="mallory/own"))[:-1]
        twice = f'{claims}, "repository": "octo-org/octo-repo"}}'
        return await _gets_in(place, place.github.sign(twice.encode()))


@attack(
    27,
    does="Signs with a key that the issuer has taken back, two hours later.",
    stopped_by=(
        Defence(
            "keys are read again behind requests",
            "sidecar.flows.issuer_keys:FRESH_SECONDS",
            becomes(1e9),
        ),
        Defence(
            "keys that are old are read before they are used",
            "sidecar.flows.issuer_keys:OLD_SECONDS",
            becomes(1e9),
        ),
    ),
    use=machine_use,
)
async def key_that_was_taken_back(lab: Lab) -> bool:
    async with _yard(lab) as place:
        assert await _gets_in(place, place.github.token())
        stolen, header = place.github.key, place.github.header()
        place.github.rotate(keep_old=False)
        place.here.clock.advance(2 * OLD_SECONDS)

        async def tries() -> bool:
            claims = json.dumps(place.github.claims()).encode()
            return await _gets_in(place, signed(stolen, header, claims))

        await tries()
        await place.here.settled()
        return await tries()


@attack(
    27,
    7,
    does="Says in a header field who he is: `Impersonate-User`, `X-Remote-User` and the like.",
    stopped_by=Defence(
        "such fields are dropped, from whomever they come",
        "sidecar.core.machine_fields:without_identity",
        lambda _: list,
    ),
    use=machine_use,
)
async def impersonation(lab: Lab) -> bool:
    async with _yard(lab) as place:
        fields = ("Impersonate-User: admin", "X_Remote_User: admin", "X-Forwarded-Groups: admin")
        reached = await place.reached(*fields, token=place.github.token())
        return any(value == "admin" for _, value in reached)


@attack(
    27,
    10,
    does="Brings a job's token, and a victim's cookies beside it.",
    stopped_by=Defence(
        "a machine's request goes up with one credential",
        "sidecar.core.machine_fields:_is_credential",
        lambda _: lambda name, profile: name == "authorization",
    ),
    use=machine_use,
)
async def cookies_beside_a_jobs_token(lab: Lab) -> bool:
    async with _yard(lab) as place:
        victim = await place.here.logged_in()
        ours = f"{CookieJar(place.here.base).session}={victim.session()}"
        reached = await place.reached(
            f"Cookie: argocd.token={place.api_token}; {ours}", token=place.github.token()
        )
        return any(name == "cookie" for name, _ in reached)


@attack(
    27,
    18,
    does="Waits for the answer in which Argo CD renews the account's token, and keeps that.",
    stopped_by=Defence(
        "no cookie and no token comes back to a machine",
        "sidecar.core.machine_fields:without_cookies",
        lambda _: list,
    ),
    use=machine_use,
)
async def renewed_credential(lab: Lab) -> bool:
    async with _yard(lab) as place:
        place.here.clock.advance(24 * 3600 - 200)
        answer = await place.ask(token=place.github.token(), target=API)
        assert answer.status == 200
        return any("argocd.token=" in field for field in answer.fields)


@attack(
    27,
    6,
    does="Comes in HTTP/2, which the sidecar does not read.",
    stopped_by=Defence(
        "with rules for machines nothing is spliced",
        "sidecar.edges:splices_http2",
        lambda _: lambda config: config.http2,
    ),
    use=machine_use,
)
async def past_the_rules_in_http2(lab: Lab) -> bool:
    async with _yard(lab) as place:
        reader, writer = await asyncio.open_connection("127.0.0.1", place.here.sidecars[0].port)
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        async with asyncio.timeout(10):
            await reader.read()
        writer.close()
        return place.here.metric("spliced_connections_total") > 0


@attack(
    27,
    25,
    does="Floods the sidecar with tokens that name keys which nobody has: it asks for them.",
    stopped_by=Defence(
        "keys are read once in an interval",
        "sidecar.flows.issuer_keys:INTERVAL_SECONDS",
        becomes(0.0),
    ),
    use=machine_use,
)
async def flood_of_unknown_keys(lab: Lab) -> bool:
    async with _yard(lab) as place:
        for number in range(20):
            token = place.github.token(header={"kid": f"unknown-{number}"})
            assert not await _gets_in(place, token)
        return place.github.key_reads > 5
