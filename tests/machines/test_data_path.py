"""A machine's request through a real socket: what goes up, what comes back, what is refused."""

import asyncio
import hashlib
import hmac
import json
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sidecar.core.cookies import CookieJar
from sidecar.flows.issuer_keys import INTERVAL_SECONDS
from tests.config.mounted import Installation
from tests.fakes.github import REPOSITORY, base64url, signed
from tests.machines.yard import API, Yard, yard
from tests.proxy.certificates import self_signed

CALL = "/application.ApplicationService/List"

Forge = Callable[[Yard], str]


@pytest.fixture
async def place(
    signing_key: rsa.RSAPrivateKey, github_key: rsa.RSAPrivateKey, tmp_path: Path
) -> AsyncIterator[Yard]:
    async with yard(signing_key, github_key, tmp_path) as made:
        yield made


def now(place: Yard) -> int:
    return int(place.here.clock.now())


# What goes up


async def test_a_jobs_token_becomes_the_credential_of_its_rule(place: Yard) -> None:
    token = place.github.token()

    reached = await place.reached("X-Request-Id: run-1", token=token)

    assert ["authorization", f"Bearer {place.api_token}"] in reached
    assert not [value for _, value in reached if token in value]
    assert await place.who(token=token) == "admin"


async def test_the_next_request_with_it_waits_for_nothing(place: Yard) -> None:
    token = place.github.token()
    await place.ask(token=token)

    assert [(await place.ask(token=token, target=API)).status for _ in range(5)] == [200] * 5
    assert place.github.key_reads == 1
    assert place.counted("admitted", "deploy") == 6
    assert place.here.metric("requests_total", credential="machine") == 6


async def test_beside_a_session_the_token_decides_and_no_cookie_goes_up(place: Yard) -> None:
    browser = await place.here.logged_in()
    cookie = f"{CookieJar(place.here.base).session}={browser.session()}"

    reached = await place.reached(
        f"Cookie: {cookie}; argocd.token=e30.e30.x", "Cookie: other=1", token=place.github.token()
    )

    assert [value for name, value in reached if name == "cookie"] == []
    assert await place.who(f"Cookie: {cookie}", token=place.github.token()) == "admin"
    assert await place.who(f"Cookie: {cookie}") == "ada@example.org"


async def test_only_one_credential_goes_up(place: Yard) -> None:
    others = (
        "Authorization: Bearer e30.eyJpc3MiOiJhcmdvY2QifQ.x",
        "token: e30.e30.x",
        "Grpc-Metadata-Token: e30.e30.x",
        "Grpc-Metadata-Authorization: Bearer e30.e30.x",
        "grpc-metadata-anything: 1",
    )

    reached = await place.reached(*others, token=place.github.token())

    credentials = [name for name, _ in reached if "token" in name or "authorization" in name]
    assert credentials == ["authorization"]
    assert not [name for name, _ in reached if name.startswith("grpc-metadata")]


@pytest.mark.parametrize(
    "field",
    ["Authorization: bearer {}", "AUTHORIZATION: BEARER  {}", "token: {}",
     "Grpc-Metadata-Token: {}", "Grpc-Metadata-Authorization: Bearer {}"],
)  # fmt: skip
async def test_a_token_is_found_wherever_argo_cd_would_look_for_one(
    place: Yard, field: str
) -> None:
    reached = await place.reached(field.format(place.github.token()))

    assert ["authorization", f"Bearer {place.api_token}"] in reached


async def test_a_body_and_its_answer_pass_as_they_are(place: Yard) -> None:
    browser = await place.here.browser()
    bearer = {"Authorization": f"Bearer {place.github.token()}"}

    answer = await browser.request("POST", "/api/v1/echo", data=b"a body", headers=bearer)

    assert answer.status == 200
    assert (await answer.json(content_type=None))["sha256"] == hashlib.sha256(b"a body").hexdigest()


async def test_the_clis_grpc_web_gets_in(place: Yard) -> None:
    browser = await place.here.browser()
    call = {"Content-Type": "application/grpc-web+proto"}

    async def status_of(token: str) -> str | None:
        answer = await browser.request("POST", CALL, headers={**call, "token": token}, data=b"")
        return answer.headers.get("Grpc-Status")

    good = await status_of(place.api_token)
    assert await status_of(place.github.token()) == good
    assert await status_of("a.b.c") != good


async def test_settings_come_as_they_come_to_others(place: Yard) -> None:
    path = "/api/v1/settings"

    answer = await place.ask(token=place.github.token(), target=path)

    others = await place.ask(f"Authorization: Bearer {place.api_token}", target=path)
    assert (answer.status, answer.body) == (others.status, others.body)
    types = [field for field in answer.fields if field.lower().startswith("content-type")]
    assert types == [f for f in others.fields if f.lower().startswith("content-type")] != []


async def test_a_changed_credential_goes_up_a_second_later(place: Yard) -> None:
    token = place.github.token()
    await place.ask(token=token)
    place.credential.write_text("e30.e30.another")
    place.here.clock.advance(1)

    reached = await place.reached(token=token)

    assert ["authorization", "Bearer e30.e30.another"] in reached


async def test_what_the_upstream_makes_of_its_credential_does_not_come_back(place: Yard) -> None:
    """Argo CD renews a local account's token in the answer, which would be the machine's then."""
    place.here.clock.advance(24 * 3600 - 200)  # the account's token ends soon

    answer = await place.ask(token=place.github.token(), target=API)

    assert answer.status == 200
    lowered = [field.lower() for field in answer.fields]
    assert not [f for f in lowered if f.startswith(("set-cookie", "grpc-metadata-renew-token"))]
    direct = await place.ask(f"Authorization: Bearer {place.api_token}", target=API)
    assert [f for f in direct.fields if f.lower().startswith("set-cookie")]


# Who else comes


@pytest.mark.parametrize("token", ["opaque", "v2:a.b.c", "a.b.c", "e30.e30.e30", "x" * 20000])
async def test_a_token_of_nobody_who_is_trusted_passes_as_it_came(place: Yard, token: str) -> None:
    assert ["authorization", f"Bearer {token}"] in await place.reached(token=token)


async def test_argo_cds_own_tokens_go_on_working(place: Yard) -> None:
    assert await place.who(token=place.api_token) == "admin"


async def test_a_persons_token_of_argo_cds_own_issuer_goes_on_working(
    signing_key: rsa.RSAPrivateKey, github_key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    """`argocd login --sso` at a provider that machines get their tokens from, too."""
    async with yard(signing_key, github_key, tmp_path) as first:
        text = json.loads(first.rules.read_text())
        text["issuers"][0]["issuer"] = first.here.provider.issuer
        first.rules.write_text(json.dumps(text))
        own = await first.here.start_sidecar(SIDECAR_LISTEN="127.0.0.1:0")
        first.here.sidecars.insert(0, own)
        claims = {"iss": first.here.provider.issuer, "sub": "ada", "email": "ada@example.org"}
        claims |= {"iat": now(first), "exp": now(first) + 300}  # type: ignore[dict-item]
        keys = first.here.provider._keys

        persons = keys.sign({**claims, "aud": first.here.provider.settings.client_id})
        nobodys = keys.sign({**claims, "aud": "elsewhere"})
        machines = keys.sign({**claims, "aud": "https://argocd.example.org"})

        assert await first.who(token=persons) == "ada@example.org"
        assert (await first.ask(token=nobodys, target=API)).status == 401
        assert (await first.ask(token=machines, target=API)).status == 403


# What is refused


def none_algorithm(place: Yard) -> str:
    head = base64url(json.dumps(place.github.header(alg="none")).encode())
    return f"{head}.{base64url(json.dumps(place.github.claims()).encode())}."


def public_key_as_a_secret(place: Yard) -> str:
    pem = place.github.key.public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    head = base64url(json.dumps(place.github.header(alg="HS256")).encode())
    text = f"{head}.{base64url(json.dumps(place.github.claims()).encode())}"
    return f"{text}.{base64url(hmac.digest(pem, text.encode(), hashlib.sha256))}"


def forged(place: Yard) -> str:
    return place.github.token().rpartition(".")[0] + "." + base64url(bytes(256))


def another_key(place: Yard) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return signed(key, place.github.header(), json.dumps(place.github.claims()).encode())


def own_key_in_the_header(place: Yard) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    numbers = key.public_key().public_numbers()
    jwk = {
        "kty": "RSA",
        "n": base64url(numbers.n.to_bytes(256, "big")),
        "e": base64url(numbers.e.to_bytes(3, "big")),
    }
    header = place.github.header(kid=None, jwk=jwk, jku="https://evil.example.org/jwks")
    return signed(key, header, json.dumps(place.github.claims()).encode())


def twice(place: Yard) -> str:
    claims = json.dumps(place.github.claims(repository="octo-org/other"))[:-1]
    return place.github.sign(f'{claims}, "repository": "{REPOSITORY}"}}'.encode())


def two_issuers(place: Yard) -> str:
    claims = json.dumps(place.github.claims())[:-1]
    return place.github.sign(f'{claims}, "iss": "argocd"}}'.encode())


def nested(place: Yard) -> str:
    claims = json.dumps(place.github.claims())[:-1]
    return place.github.sign(f'{claims}, "x": {"[" * 40}{"]" * 40}}}'.encode())


def cut(place: Yard) -> str:
    text = json.dumps({"iss": place.github.issuer})
    return place.github.sign(text.encode())


BAD: dict[str, tuple[Forge, str]] = {
    "forged": (forged, "signature"),
    "another key": (another_key, "signature"),
    "own key in the header": (own_key_in_the_header, "signature"),
    "unknown key": (lambda p: p.github.token(header={"kid": "unknown"}), "kid"),
    "expired": (lambda p: p.github.token(exp=now(p) - 31), "exp"),
    "expires never": (lambda p: p.github.token(exp=None), "exp"),
    "from the future": (lambda p: p.github.token(nbf=now(p) + 60), "nbf"),
    "issued in the future": (lambda p: p.github.token(iat=now(p) + 60), "iat"),
    "too old": (lambda p: p.github.token(iat=now(p) - 700, exp=now(p) + 9), "age"),
    "another audience": (lambda p: p.github.token(aud="https://elsewhere.example.org"), "aud"),
    "no audience": (lambda p: p.github.token(aud=None), "aud"),
    "issuer with a slash": (lambda p: p.github.token(iss=p.github.issuer + "/"), "iss"),
    "none": (none_algorithm, "alg"),
    "public key as a secret": (public_key_as_a_secret, "alg"),
    "another algorithm": (lambda p: p.github.token(header={"alg": "RS384"}), "alg"),
    "critical header": (lambda p: p.github.token(header={"crit": ["exp"], "exp": 1}), "crit"),
    "another type": (lambda p: p.github.token(header={"typ": "logout+jwt"}), "typ"),
    "huge": (lambda p: p.github.token(padding="x" * 20_000), "length"),
    "nested": (nested, "nested"),
    "claim twice": (twice, "duplicate"),
    "two issuers": (two_issuers, "duplicate"),
    "no subject": (lambda p: p.github.token(sub=None), "sub"),
    "cut": (cut, "aud"),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_token_of_a_trusted_issuer_goes_nowhere(
    signing_key: rsa.RSAPrivateKey, github_key: rsa.RSAPrivateKey, tmp_path: Path, name: str
) -> None:
    forge, check = BAD[name]
    async with yard(signing_key, github_key, tmp_path, issuer={"max_age": "10m"}) as place:
        await place.ask(token=place.github.token())  # the keys are known
        before = len(place.here.argocd.seen.log)
        token = forge(place)

        answers = [await place.ask(token=token) for _ in range(2)]

        assert [answer.status for answer in answers] == [401, 401]
        for answer in answers:
            assert 'WWW-Authenticate: Bearer error="invalid_token"' in answer.fields
            assert json.loads(answer.body)["message"] == "invalid bearer token"
        assert len(place.here.argocd.seen.log) == before
        told = place.audited("machine_refused")
        assert [(line["issuer"], line["check"]) for line in told] == [("github", check)]
        assert not [part for part in token.split(".") if part and part in place.audit.read_text()]
        assert place.counted("refused") == 2


async def test_a_machine_without_a_rule_gets_403_and_the_log_says_what_was_tried(
    place: Yard,
) -> None:
    answer = await place.ask(token=place.github.token(repository="octo-org/other"))

    assert answer.status == 403
    assert b"deploy" not in answer.body
    (told,) = place.audited("machine_forbidden")
    assert told["tried"] == ["deploy"]
    assert told["subject"] == f"repo:{REPOSITORY}:ref:refs/heads/main"
    assert place.counted("forbidden") == 1


async def test_a_credential_that_cannot_be_read_is_503(place: Yard) -> None:
    place.credential.unlink()
    place.here.clock.advance(1)

    answer = await place.ask(token=place.github.token())

    assert answer.status == 503
    assert "Retry-After: 1" in answer.fields
    assert str(place.credential).encode() not in answer.body
    assert place.counted("unavailable") == 1


async def test_an_issuer_that_was_never_reached_is_503_and_not_401(place: Yard) -> None:
    place.github.available = False

    assert (await place.ask(token=place.github.token())).status == 503


async def test_a_credential_that_the_upstream_refuses_is_counted(place: Yard) -> None:
    place.credential.write_text("e30.e30.x")

    assert (await place.ask(token=place.github.token(), target=API)).status == 401
    assert place.counted("turned_away", "deploy") == 1


async def test_a_token_that_was_refused_is_taken_when_its_time_has_come(place: Yard) -> None:
    token = place.github.token(nbf=now(place) + 60)

    assert (await place.ask(token=token)).status == 401
    place.here.clock.advance(30)
    assert (await place.ask(token=token)).status == 200


async def test_a_key_that_rotates_is_found_and_one_that_was_taken_back_is_no_good(
    place: Yard,
) -> None:
    old = place.github.token(exp=now(place) + 86400)
    assert (await place.ask(token=old)).status == 200
    place.github.rotate(keep_old=False)
    place.here.clock.advance(INTERVAL_SECONDS)

    assert (await place.ask(token=place.github.token())).status == 200
    assert (await place.ask(token=old)).status == 401


# What nobody may say from outside


IDENTITY = (
    "Impersonate-User", "Impersonate-Group", "Impersonate-Uid", "impersonate-extra-scopes",
    "Impersonate_User", "X-Remote-User", "X-Remote-Group", "X-Remote-Extra-Foo",
    "X-Forwarded-User", "X-Forwarded-Groups", "X-Forwarded-Email", "X-Forwarded_Groups",
    "X-Forwarded-Preferred-Username", "X-Forwarded-Access-Token", "X-Auth-Request-User",
    "Remote-User", "Remote-Groups", "Remote-Group", "Remote-Name", "Remote-Email",
    "Argocd-Username", "Argocd-User-Groups", "Argocd-User-Id",
)  # fmt: skip


@pytest.mark.parametrize("who", ["machine", "session", "nobody"])
async def test_nobody_says_from_outside_who_they_are(place: Yard, who: str) -> None:
    fields = [f"{name}: admin" for name in IDENTITY]
    if who == "session":
        browser = await place.here.logged_in()
        fields.append(f"Cookie: {CookieJar(place.here.base).session}={browser.session()}")

    reached = await place.reached(
        *fields, "X-Other: 1", token=place.github.token() if who == "machine" else ""
    )

    assert [name for name, value in reached if value == "admin"] == []
    assert ["x-other", "1"] in reached


async def test_without_rules_such_fields_pass_as_they_came(
    signing_key: rsa.RSAPrivateKey, github_key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    async with yard(
        signing_key, github_key, tmp_path, environment={"SIDECAR_MACHINE_RULES": None}
    ) as place:
        reached = await place.reached(*(f"{name}: admin" for name in IDENTITY))

        assert [name for name, value in reached if value == "admin"] == [
            name.lower() for name in IDENTITY
        ]


# HTTP/2

PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


async def test_http2_passes_no_rule_by(place: Yard) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", place.here.sidecars[0].port)
    writer.write(PREFACE.encode())
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()

    assert answer.startswith(b"HTTP/1.1 505 ")
    assert place.here.metric("spliced_connections_total") == 0


async def test_tls_offers_http_1_alone(
    signing_key: rsa.RSAPrivateKey, github_key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    pair = self_signed(tmp_path / "tls", "argocd.example.org")
    files = dict(zip(("SIDECAR_TLS_CERT_FILE", "SIDECAR_TLS_KEY_FILE"), pair, strict=True))
    context = ssl.create_default_context(cafile=pair[0])
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with yard(signing_key, github_key, tmp_path, environment=files) as place:
        _, writer = await asyncio.open_connection(
            "127.0.0.1",
            place.here.sidecars[0].port,
            ssl=context,
            server_hostname="argocd.example.org",
        )

        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        context.set_alpn_protocols(["h2"])
        _, other = await asyncio.open_connection(
            "127.0.0.1",
            place.here.sidecars[0].port,
            ssl=context,
            server_hostname="argocd.example.org",
        )
        assert other.get_extra_info("ssl_object").selected_alpn_protocol() is None
        writer.close()
        other.close()


# With and without a login of our own


async def test_machines_come_in_where_logins_pass_too(
    signing_key: rsa.RSAPrivateKey, github_key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    argocd = Installation(tmp_path / "argocd")
    async with yard(signing_key, github_key, tmp_path, installation=argocd) as place:
        argocd.change("argocd-cm", {"oidc.config": None})
        place.here.sidecars.insert(0, await place.here.start_sidecar(SIDECAR_LISTEN="127.0.0.1:0"))

        assert place.here.metric("takes_over_logins") == 0
        assert await place.who(token=place.github.token()) == "admin"
        assert (await place.ask(token=place.github.token(aud="x"))).status == 401
