import asyncio
import base64
import json
from typing import Any

import aiohttp
import jwt
import pytest
from aiohttp import ClientSession

from sidecar.demo.misbehaviour import Answer, Change, Drop
from sidecar.demo.provider import DemoProvider
from tests.demo.client import ADA, REDIRECT_URI, SECRET, Client, Clock, location_parameters


def claims_of(tokens: dict[str, Any]) -> dict[str, Any]:
    return jwt.decode(tokens["id_token"], options={"verify_signature": False})


async def test_discovery_names_the_issuer_and_everything_below_it(
    http: ClientSession, provider: DemoProvider
) -> None:
    provider.settings.path = "/dex"

    response = await http.get(f"{provider.issuer}/.well-known/openid-configuration")

    document = await response.json()
    assert document["issuer"] == provider.issuer
    assert document["token_endpoint"] == f"{provider.issuer}/token"
    assert document["revocation_endpoint"] == f"{provider.issuer}/revoke"
    assert document["authorization_response_iss_parameter_supported"] is True
    assert provider.discovery_requests == 1


async def test_a_provider_without_revocation_does_not_advertise_it(
    http: ClientSession, provider: DemoProvider
) -> None:
    provider.settings.revocation_endpoint = False

    response = await http.get(f"{provider.issuer}/.well-known/openid-configuration")

    assert "revocation_endpoint" not in await response.json()


async def test_a_login_by_form_brings_code_state_and_issuer(
    client: Client, provider: DemoProvider
) -> None:
    response = await client.answer_form(ADA)

    answer = location_parameters(response)
    assert response.status == 303
    assert response.headers["Location"].startswith(REDIRECT_URI)
    assert answer["state"] == "a-state"
    assert answer["iss"] == provider.issuer
    assert answer["code"]
    assert provider.logins == 1


async def test_each_login_shows_the_form_with_the_demo_user(client: Client) -> None:
    response = await client.http.get(client.authorize_url())

    page = await response.text()
    assert response.status == 200
    assert '<form method="post">' in page
    assert "<code>ada</code>" in page


async def test_a_wrong_password_shows_the_form_again(
    client: Client, provider: DemoProvider
) -> None:
    response = await client.answer_form({"user": "<ada>", "password": "wrong"})

    page = await response.text()
    assert "User or password is wrong." in page
    assert "<ada>" not in page
    assert provider.logins == 0


async def test_a_user_who_denies_is_sent_back_with_the_reason(client: Client) -> None:
    response = await client.answer_form({"action": "deny"})

    assert location_parameters(response)["error"] == "access_denied"
    assert location_parameters(response)["state"] == "a-state"


@pytest.mark.parametrize(
    "changes", [{"client_id": "another"}, {"redirect_uri": REDIRECT_URI + "/more"}]
)
async def test_an_unknown_client_or_address_is_never_redirected_to(
    client: Client, changes: dict[str, str]
) -> None:
    response = await client.answer_form(ADA, **changes)

    assert response.status == 400
    assert "Location" not in response.headers


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "profile"}, "invalid_scope"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": ""}, "invalid_request"),
        ({"prompt": "none"}, "login_required"),
    ],
)
async def test_a_wrong_authorization_request_is_told_to_the_client(
    client: Client, changes: dict[str, str], error: str
) -> None:
    response = await client.answer_form(ADA, **changes)

    assert response.status == 303
    assert location_parameters(response)["error"] == error


async def test_the_id_token_says_who_for_whom_and_how_long(
    client: Client, provider: DemoProvider, clock: Clock
) -> None:
    tokens = await client.log_in()

    claims = claims_of(tokens)
    assert claims["iss"] == provider.issuer
    assert (claims["sub"], claims["aud"], claims["nonce"]) == ("ada", "argo-cd", "a-nonce")
    assert (claims["email"], claims["groups"]) == ("ada@example.org", ["developers"])
    assert (claims["iat"], claims["exp"]) == (clock.now(), clock.now() + 20)
    assert claims["sid"]


async def test_the_signature_is_made_by_a_published_key(
    client: Client, provider: DemoProvider, http: ClientSession
) -> None:
    tokens = await client.log_in()

    response = await http.get(f"{provider.issuer}/jwks")

    key = jwt.PyJWKSet.from_dict(await response.json())
    header = jwt.get_unverified_header(tokens["id_token"])
    assert jwt.PyJWS().decode(tokens["id_token"], key[header["kid"]], algorithms=["RS256"])
    assert provider.jwks_requests == 1


async def test_the_second_use_of_a_code_ends_what_the_first_one_got(
    client: Client, provider: DemoProvider
) -> None:
    code = await client.code()
    _, tokens = await client.exchange(code)

    status, answer = await client.exchange(code)

    assert (status, answer["error"]) == (400, "invalid_grant")
    assert (await client.refresh(tokens["refresh_token"]))[0] == 400
    assert provider.reuses == 1


@pytest.mark.parametrize(
    "changes",
    [{"code_verifier": "wrong"}, {"redirect_uri": "http://127.0.0.1:2/"}, {"code": "unknown"}],
)
async def test_a_code_is_worth_nothing_with_other_particulars(
    client: Client, changes: dict[str, str]
) -> None:
    code = await client.code()

    status, answer = await client.exchange(**{"code": code, **changes})

    assert (status, answer["error"]) == (400, "invalid_grant")


async def test_a_code_ends_after_its_time(client: Client, clock: Clock) -> None:
    code = await client.code()

    clock.advance(60)

    assert (await client.exchange(code))[0] == 400


async def test_a_wrong_secret_is_refused_and_spends_nothing(client: Client) -> None:
    code = await client.code()

    status, answer = await client.exchange(code, client_secret="wrong")

    assert (status, answer["error"]) == (401, "invalid_client")
    assert (await client.exchange(code))[0] == 200


@pytest.mark.parametrize(("secret", "status"), [("d%65mo-secret", 200), ("wrong", 401)])
async def test_the_secret_may_come_in_a_basic_header(
    client: Client, secret: str, status: int
) -> None:
    tokens = await client.log_in()
    credentials = base64.b64encode(f"argo-cd:{secret}".encode()).decode()

    response = await client.http.post(
        f"{client.provider.issuer}/token",
        data={"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]},
        headers={"Authorization": f"Basic {credentials}"},
    )

    assert response.status == status
    assert ("WWW-Authenticate" in response.headers) is (status == 401)


async def test_an_unknown_grant_type_is_refused(client: Client) -> None:
    status, answer = await client.token({"grant_type": "password", **SECRET})

    assert (status, answer["error"]) == (400, "unsupported_grant_type")


async def test_without_offline_access_there_is_no_refresh_token(client: Client) -> None:
    tokens = await client.log_in(scope="openid")

    assert "refresh_token" not in tokens


async def test_a_refresh_brings_new_tokens_for_the_same_login(
    client: Client, provider: DemoProvider
) -> None:
    first = await client.log_in()

    status, second = await client.refresh(first["refresh_token"])

    old, new = claims_of(first), claims_of(second)
    assert status == 200
    assert second["refresh_token"] != first["refresh_token"]
    assert old["jti"] != new["jti"]
    assert old["at_hash"] != new["at_hash"]
    assert all(old[name] == new[name] for name in ("sub", "sid", "nonce", "auth_time"))
    assert provider.refreshes == 1


async def test_a_spent_refresh_token_ends_the_whole_family(
    client: Client, provider: DemoProvider
) -> None:
    first = await client.log_in()
    _, second = await client.refresh(first["refresh_token"])

    status, answer = await client.refresh(first["refresh_token"])

    assert (status, answer["error"]) == (400, "invalid_grant")
    assert (await client.refresh(second["refresh_token"]))[0] == 400
    assert [event.kind for event in provider.log].count("reuse") == 1


async def test_inside_the_reuse_window_a_spent_token_brings_the_same_next_one(
    client: Client, provider: DemoProvider, clock: Clock
) -> None:
    provider.settings.reuse_window_seconds = 3
    first = await client.log_in()
    _, second = await client.refresh(first["refresh_token"])

    clock.advance(2.9)
    status, again = await client.refresh(first["refresh_token"])
    clock.advance(0.2)
    late, _ = await client.refresh(first["refresh_token"])

    assert (status, late) == (200, 400)
    assert again["refresh_token"] == second["refresh_token"]


async def test_a_lenient_provider_lets_the_newest_token_live(
    client: Client, provider: DemoProvider
) -> None:
    provider.settings.reuse_ends_family = False
    first = await client.log_in()
    _, second = await client.refresh(first["refresh_token"])

    status, _ = await client.refresh(first["refresh_token"])

    assert status == 400
    assert (await client.refresh(second["refresh_token"]))[0] == 200


async def test_without_rotation_the_refresh_token_stays(
    client: Client, provider: DemoProvider
) -> None:
    provider.settings.rotates = False
    first = await client.log_in()

    _, second = await client.refresh(first["refresh_token"])

    assert second["refresh_token"] == first["refresh_token"]


async def test_a_revoked_refresh_token_refreshes_no_more(
    client: Client, provider: DemoProvider
) -> None:
    tokens = await client.log_in()

    response = await client.http.post(
        f"{provider.issuer}/revoke", data={"token": tokens["refresh_token"], **SECRET}
    )

    assert response.status == 200
    assert (await client.refresh(tokens["refresh_token"]))[0] == 400


async def test_revoking_an_unknown_token_is_no_error_but_needs_the_secret(
    client: Client, provider: DemoProvider
) -> None:
    address = f"{provider.issuer}/revoke"

    known = await client.http.post(address, data={"token": "unknown", **SECRET})
    stranger = await client.http.post(address, data={"token": "unknown"})

    assert (known.status, stranger.status) == (200, 401)


async def test_the_provider_can_end_one_users_grants(
    client: Client, provider: DemoProvider
) -> None:
    tokens = await client.log_in()

    provider.end_grant("somebody else")
    status, tokens = await client.refresh(tokens["refresh_token"])
    provider.end_grant("ada")

    assert status == 200
    assert (await client.refresh(tokens["refresh_token"]))[1]["error"] == "invalid_grant"


async def test_userinfo_needs_a_living_access_token(
    client: Client, provider: DemoProvider, clock: Clock
) -> None:
    tokens = await client.log_in()
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}

    good = await client.http.get(f"{provider.issuer}/userinfo", headers=bearer)
    clock.advance(20)
    late = await client.http.get(f"{provider.issuer}/userinfo", headers=bearer)

    assert (await good.json())["sub"] == "ada"
    assert late.status == 401


@pytest.mark.parametrize("keep_old", [True, False])
async def test_a_new_key_signs_and_the_old_one_stays_or_goes(
    client: Client, provider: DemoProvider, keep_old: bool
) -> None:
    old = jwt.get_unverified_header((await client.log_in())["id_token"])["kid"]

    provider.rotate_keys(keep_old=keep_old)

    new = jwt.get_unverified_header((await client.log_in())["id_token"])["kid"]
    response = await client.http.get(f"{provider.issuer}/jwks")
    published = [key["kid"] for key in (await response.json())["keys"]]
    assert published == ([new, old] if keep_old else [new])


async def test_an_unavailable_provider_answers_503_to_everything(
    client: Client, provider: DemoProvider
) -> None:
    provider.available = False

    paths = ("/.well-known/openid-configuration", "/jwks", "/authorize", "/token")
    statuses = {(await client.http.get(provider.issuer + path)).status for path in paths}

    assert statuses == {503}


async def test_a_request_held_before_the_commit_has_changed_nothing_yet(
    client: Client, provider: DemoProvider
) -> None:
    tokens = await client.log_in()
    gate = provider.hold()

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(client.refresh(tokens["refresh_token"]))
        await gate.reached()
        refreshes_meanwhile = provider.refreshes
        gate.release()

    assert refreshes_meanwhile == 0
    assert waiting.result()[0] == 200


async def test_a_request_held_after_the_commit_has_spent_its_token(
    client: Client, provider: DemoProvider
) -> None:
    tokens = await client.log_in()
    gate = provider.hold(after_commit=True)

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(client.refresh(tokens["refresh_token"]))
        await gate.reached()
        refreshes_meanwhile = provider.refreshes
        gate.release()

    assert refreshes_meanwhile == 1
    assert waiting.result()[0] == 200


@pytest.mark.parametrize(("after_commit", "refreshes"), [(False, 0), (True, 1)])
async def test_a_dropped_answer_may_or_may_not_have_spent_the_token(
    client: Client, provider: DemoProvider, after_commit: bool, refreshes: int
) -> None:
    tokens = await client.log_in()
    provider.script.append(Drop(after_commit=after_commit))

    with pytest.raises(aiohttp.ClientError):
        await client.refresh(tokens["refresh_token"])

    assert provider.refreshes == refreshes


async def test_a_scripted_answer_comes_verbatim_and_once(
    client: Client, provider: DemoProvider
) -> None:
    tokens = await client.log_in()
    provider.script.append(
        Answer(status=429, body="slowly", content_type="text/plain", headers={"Retry-After": "7"})
    )

    response = await client.http.post(f"{provider.issuer}/token", data={})

    assert (response.status, await response.text()) == (429, "slowly")
    assert response.headers["Retry-After"] == "7"
    assert (await client.refresh(tokens["refresh_token"]))[0] == 200


async def test_an_answer_can_be_changed_and_leave_things_out(
    client: Client, provider: DemoProvider
) -> None:
    tokens = await client.log_in()
    provider.script.append(
        Change(claims={"sub": "eve", "nonce": None}, members={"refresh_token": None})
    )

    _, changed = await client.refresh(tokens["refresh_token"])

    assert claims_of(changed)["sub"] == "eve"
    assert "nonce" not in claims_of(changed)
    assert "refresh_token" not in changed


async def test_a_forged_token_names_the_right_key_but_was_not_signed_by_it(
    client: Client, provider: DemoProvider
) -> None:
    provider.script.append(Change(forged=True))
    forged = (await client.log_in())["id_token"]

    response = await client.http.get(f"{provider.issuer}/jwks")

    keys = jwt.PyJWKSet.from_dict(await response.json())
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.PyJWS().decode(forged, keys[jwt.get_unverified_header(forged)["kid"]], ["RS256"])


async def test_the_log_holds_no_secret(client: Client, provider: DemoProvider) -> None:
    code = await client.code()
    _, first = await client.exchange(code)
    _, second = await client.refresh(first["refresh_token"])
    await client.refresh(first["refresh_token"])

    said = json.dumps([str(event) for event in provider.log])

    kinds = [event.kind for event in provider.log]
    assert kinds == ["login", "code", "refresh", "reuse", "revoked", "refused"]
    for secret in (code, first["refresh_token"], second["refresh_token"], first["access_token"]):
        assert secret not in said


async def test_a_provider_that_comes_back_remembers_its_grants(
    client: Client, provider: DemoProvider, clock: Clock
) -> None:
    other = DemoProvider(provider.settings, now=clock.now)
    async with other.running() as issuer:
        tokens = await Client(client.http, other).log_in()
    port = int(issuer.rpartition(":")[2])

    async with other.running(port=port):
        status, _ = await Client(client.http, other).refresh(tokens["refresh_token"])

    assert status == 200
