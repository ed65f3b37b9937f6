"""Who machines are and what they may, without the data path: real issuer, real files."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from sidecar.core.bearer_tokens import Machine
from sidecar.core.machine_rules import Annotated, Choice, Refusal, ServiceAccount
from sidecar.errors import MachineCredentialUnavailable, TokenInvalid
from sidecar.flows import issuer_keys, machines
from sidecar.flows.issuer_keys import FRESH_SECONDS, INTERVAL_SECONDS, LAST_SECONDS, OLD_SECONDS
from sidecar.flows.machines import Machines
from tests.fakes.github import REPOSITORY, base64url
from tests.machines.conftest import TARGET, Place, Says, place, rule


async def test_a_machine_with_a_rule_gets_its_credential(here: Place) -> None:
    entry = await here.entry(here.github.token())

    assert entry.token == "an-api-token"
    assert isinstance(entry.choice, Choice)
    assert entry.choice.rule == "deploy"
    assert entry.counted_as == ("github", "deploy", "admitted")


async def test_the_keys_are_read_for_the_first_token_alone(here: Place) -> None:
    await here.admitted(here.github.token())

    assert here.entry_now(here.github.token()) is not None
    assert here.github.key_reads == 1


async def test_of_many_first_tokens_one_reads_the_keys(here: Place) -> None:
    tokens = [here.github.token() for _ in range(50)]

    entries = await asyncio.gather(*(here.entry(token) for token in tokens))

    assert {entry.token for entry in entries} == {"an-api-token"}
    assert here.github.key_reads == 1


async def test_a_verified_token_is_not_verified_again(
    here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = here.github.token()
    first = await here.entry(token)

    monkeypatch.setattr(machines, "verify", lambda *_: pytest.fail("it was verified again"))
    again = here.entry_now(token)

    assert again is not None
    assert again.admission is first.admission
    assert here.machines.holds(first, TARGET)


async def test_what_was_verified_ends_with_its_token(here: Place) -> None:
    token = here.github.token()
    entry = await here.entry(token)
    here.clock.advance(329)
    assert here.machines.holds(entry, TARGET)

    here.clock.advance(1)

    assert not here.machines.holds(entry, TARGET)
    assert await here.check(token) == "exp"


async def test_so_many_tokens_are_remembered_and_no_more(
    here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machines, "MOST_REMEMBERED", 3)
    tokens = [here.github.token() for _ in range(4)]
    entries = [await here.entry(token) for token in tokens]

    first, last = here.entry_now(tokens[0]), here.entry_now(tokens[3])

    assert first is not None
    assert first.admission is not entries[0].admission
    assert last is not None
    assert last.admission is entries[3].admission


async def test_a_new_key_is_found_at_once(here: Place) -> None:
    await here.admitted(here.github.token())
    here.clock.advance(INTERVAL_SECONDS)
    here.github.rotate()

    assert await here.admitted(here.github.token())
    assert here.github.key_reads == 2


async def test_however_many_unknown_keys_come_they_are_read_once_in_an_interval(
    here: Place,
) -> None:
    await here.admitted(here.github.token())
    here.clock.advance(INTERVAL_SECONDS)
    forged = [here.github.token(header={"kid": f"unknown-{n}"}) for n in range(40)]

    checks = [await here.check(token) for token in forged]

    assert set(checks) == {"kid"}
    assert here.github.key_reads == 2
    here.clock.advance(INTERVAL_SECONDS)
    await asyncio.gather(*(here.check(token) for token in forged))
    assert here.github.key_reads == 3


async def test_a_forged_signature_has_the_keys_read_no_more_often(here: Place) -> None:
    good = here.github.token()
    await here.admitted(good)
    here.clock.advance(INTERVAL_SECONDS)
    forged = good.rpartition(".")[0] + "." + base64url(bytes(256))

    assert [await here.check(forged) for _ in range(20)] == ["signature"] * 20
    assert here.github.key_reads == 2


async def test_a_key_that_was_changed_under_its_name_is_found(here: Place) -> None:
    await here.admitted(here.github.token())
    kid = here.github.kid
    here.clock.advance(INTERVAL_SECONDS)
    here.github.rotate(keep_old=False)
    published = here.github._published
    published[kid] = {**published.pop(here.github.kid), "kid": kid}
    here.github.kid = kid

    assert await here.admitted(here.github.token())


async def test_a_token_whose_header_is_no_good_has_no_key_read(here: Place) -> None:
    for header in ({"alg": "none"}, {"alg": "HS256"}, {"crit": ["x"]}, {"typ": "x"}):
        assert await here.check(here.github.token(header={"kid": "unknown", **header}))

    assert here.github.asked == []


async def test_a_key_that_was_taken_back_ends_what_it_had_signed(here: Place) -> None:
    token = here.github.token(exp=int(here.clock.now()) + 86400)
    entry = await here.entry(token)
    here.github.rotate(keep_old=False)
    here.clock.advance(FRESH_SECONDS)
    assert here.machines.holds(entry, TARGET)  # this look has the keys read behind it

    await here.tasks.idle()

    assert not here.machines.holds(entry, TARGET)
    assert await here.check(token) == "kid"


async def test_another_key_beside_it_ends_nothing_but_what_is_remembered(here: Place) -> None:
    token = here.github.token(exp=int(here.clock.now()) + 86400)
    entry = await here.entry(token)
    here.github.rotate()
    here.clock.advance(FRESH_SECONDS)
    here.machines.holds(entry, TARGET)
    await here.tasks.idle()

    assert not here.machines.holds(entry, TARGET)
    assert await here.admitted(token)


async def test_nobody_waits_while_keys_are_read_behind(here: Place) -> None:
    await here.admitted(here.github.token())
    here.clock.advance(FRESH_SECONDS)

    assert here.entry_now(here.github.token()) is not None
    assert here.github.key_reads == 1
    await here.tasks.idle()
    assert here.github.key_reads == 2


async def test_an_issuer_that_hangs_holds_nobody_up_whose_key_is_known(here: Place) -> None:
    await here.admitted(here.github.token())
    here.github.gate = asyncio.Event()
    here.clock.advance(FRESH_SECONDS)

    unknown = asyncio.create_task(here.check(here.github.token(header={"kid": "unknown"})))
    for _ in range(10):
        assert here.entry_now(here.github.token()) is not None
        await asyncio.sleep(0)
    assert not unknown.done()

    here.github.gate.set()
    assert await unknown == "kid"
    assert here.github.key_reads == 2


async def test_keys_that_nobody_asked_about_for_an_hour_are_read_first(here: Place) -> None:
    await here.admitted(here.github.token())
    stolen = here.github.key
    here.github.rotate(keep_old=False)
    here.clock.advance(OLD_SECONDS)

    thief = here.github.token()
    assert here.entry_now(thief) is None  # it is waited for
    assert await here.admitted(thief)
    assert stolen is not here.github.key


async def test_the_known_keys_of_an_issuer_that_is_away_go_on(here: Place) -> None:
    await here.admitted(here.github.token())
    here.github.available = False
    here.clock.advance(OLD_SECONDS)

    assert await here.admitted(here.github.token())
    reads = len(here.github.asked)
    for _ in range(20):
        assert here.entry_now(here.github.token()) is not None
    assert len(here.github.asked) == reads
    assert [line["issuer"] for line in here.told("machine_keys_not_read")] == ["github"]

    here.github.available = True
    here.clock.advance(INTERVAL_SECONDS)
    await here.admitted(here.github.token())
    assert len(here.told("machine_keys_read_again")) == 1


async def test_but_for_a_day_at_most(here: Place) -> None:
    entry = await here.entry(here.github.token(exp=int(here.clock.now()) + 10 * 86400))
    here.github.available = False
    here.clock.advance(LAST_SECONDS)

    assert not here.machines.holds(entry, TARGET)
    with pytest.raises(MachineCredentialUnavailable):
        await here.entry(here.github.token())
    assert here.why_not() == "the keys of github are not known"


async def test_an_issuer_that_was_never_reached_is_asked_once_in_an_interval(here: Place) -> None:
    here.github.available = False
    for _ in range(10):
        with pytest.raises(MachineCredentialUnavailable):
            await here.entry(here.github.token())

    assert len(here.github.asked) == 1
    assert here.counted("unavailable") == 10


async def test_so_many_wait_for_keys_and_no_more(
    here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuer_keys, "MOST_WAITING", 5)
    tokens = [here.github.token() for _ in range(8)]

    found = await asyncio.gather(*(here.entry(t) for t in tokens), return_exceptions=True)

    assert sum(isinstance(each, MachineCredentialUnavailable) for each in found) == 3


async def test_a_machine_without_a_rule_is_told_to_the_log_once(here: Place) -> None:
    token = here.github.token(repository="octo-org/other")

    entry, *_ = [await here.entry(token) for _ in range(3)]

    assert isinstance(entry.choice, Refusal)
    assert entry.counted_as == ("github", "", "forbidden")
    subject = f"repo:{REPOSITORY}:ref:refs/heads/main"
    told = {"issuer": "github", "subject": subject, "tried": ["deploy"], "level": "warning"}
    assert here.told("machine_forbidden") == [told]


async def test_who_audits_sees_each_token_once(here: Place) -> None:
    token = here.github.token()
    for _ in range(3):
        await here.entry(token)
    await here.entry(here.github.token())

    told = here.told("machine_admitted")

    assert len(told) == 2
    assert told[0] == {
        "issuer": "github",
        "subject": f"repo:{REPOSITORY}:ref:refs/heads/main",
        "rule": "deploy",
        "credential": f"token file {here.file}",
        "level": "info",
    }


async def test_refusals_are_told_once_a_second_and_counted_always(here: Place) -> None:
    presented = here.machines.presented([here.github.token()])
    assert presented is not None
    for _ in range(5):
        here.machines.refuse(presented, "exp")
    here.machines.refuse(presented, "aud")
    here.clock.advance(1)
    here.machines.refuse(presented, "exp")

    told = [(line["check"], line["others"]) for line in here.told("machine_refused")]
    assert told == [("exp", 0), ("aud", 0), ("exp", 4)]
    assert here.counted("refused") == 7


async def test_a_rule_that_fails_does_not_match_and_is_told(
    signing_key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    broken = rule(tmp_path / "token", name="broken", condition=Says("no_such", 1), precedence=1)
    rules = (broken, rule(tmp_path / "token"))
    async with place(signing_key, tmp_path, rules=rules) as here:
        entry = await here.entry(here.github.token())
        await here.entry(here.github.token())

        assert isinstance(entry.choice, Choice)
        assert entry.choice.rule == "deploy"
        assert [line["rule"] for line in here.told("machine_rule_failed")] == ["broken"]


async def test_a_file_that_changes_changes_what_goes_up(here: Place) -> None:
    token = here.github.token()
    before = await here.entry(token)
    here.file.write_text("another-token\n")
    here.clock.advance(1)

    assert not here.machines.holds(before, TARGET)
    assert (await here.entry(token)).token == "another-token"


@pytest.mark.parametrize("content", ["", " ", "two words", "x" * 16385, "a\nb", "caf\u00e9"])
async def test_a_file_without_a_usable_token_gives_none(here: Place, content: str) -> None:
    here.file.write_text(content)

    with pytest.raises(MachineCredentialUnavailable):
        await here.entry(here.github.token())
    assert here.why_not().startswith(f"token file {here.file} cannot be used")


async def test_a_file_that_is_gone_is_not_used_on(here: Place) -> None:
    token = here.github.token()
    entry = await here.entry(token)
    here.file.unlink()
    here.clock.advance(1)

    assert not here.machines.holds(entry, TARGET)
    with pytest.raises(MachineCredentialUnavailable):
        await here.entry(token)
    assert "No such file" in here.why_not()


async def test_the_upstreams_refusal_of_a_credential_is_an_alarm_once_a_minute(
    here: Place,
) -> None:
    entry = await here.entry(here.github.token())

    for _ in range(3):
        here.machines.turned_away(entry)

    told = here.told("machine_credential_refused")
    assert [(line["rule"], line["level"]) for line in told] == [("deploy", "error")]
    assert here.counted("turned_away", "deploy") == 3


async def test_a_machine_without_a_rule_that_the_upstream_turned_away_is_no_alarm(
    here: Place,
) -> None:
    entry = await here.entry(here.github.token(repository="octo-org/another"))

    here.machines.turned_away(entry)

    assert isinstance(entry.choice, Refusal)
    assert here.machines.holds(entry, TARGET)
    assert here.told("machine_credential_refused") == []
    assert here.counted("turned_away") == 1


async def test_a_machine_waits_so_long_and_is_told_to_come_again(
    here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machines, "WAIT_SECONDS", 0.05)
    here.github.gate = asyncio.Event()

    with pytest.raises(MachineCredentialUnavailable):
        await here.entry(here.github.token())

    assert here.why_not() == "it took too long"
    here.github.gate.set()


@pytest.mark.parametrize(
    "token", ["opaque", "", "a.b.c", "argocd", "v2:abc.def.ghi", "e30.eyJpc3MiOiJhcmdvY2QifQ.x"]
)
async def test_a_token_of_nobody_who_is_trusted_is_not_judged_here(here: Place, token: str) -> None:
    assert here.machines.presented([token]) is None


@pytest.mark.parametrize("changes", [{"iss": "https://elsewhere.example.org"}, {"iss": None}])
async def test_nor_is_one_of_another_issuer(here: Place, changes: dict[str, Any]) -> None:
    assert here.machines.presented([here.github.token(**changes)]) is None


async def test_an_issuer_that_is_wrong_by_a_slash_is_refused_here(here: Place) -> None:
    assert await here.check(here.github.token(iss=here.github.issuer + "/")) == "iss"


async def test_whoever_names_two_issuers_is_judged_by_the_trusted_one(here: Place) -> None:
    claims = f'"iss": "{here.github.issuer}", "iss": "argocd"'.encode()

    assert await here.check(here.github.sign(b"{" + claims + b"}")) == "duplicate"
    swapped = f'"iss": "argocd", "iss": "{here.github.issuer}"'.encode()
    assert await here.check(here.github.sign(b"{" + swapped + b"}")) == "duplicate"


async def test_what_cannot_be_read_is_refused(here: Place) -> None:
    payload = b'{"iss": "x", "y": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"

    assert await here.check(here.github.sign(payload)) == "nested"


async def test_a_persons_token_of_an_issuer_that_the_upstream_trusts_too_is_the_upstreams(
    signing_key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    async with place(signing_key, tmp_path, own_issuers=True) as here:
        persons = here.github.token(aud="argo-cd")
        both = here.github.token(aud=["argo-cd", here.github.claims()["aud"]])

        assert here.machines.presented([persons]) is None
        assert await here.admitted(here.github.token())
        assert await here.admitted(both)


async def test_an_issuer_that_the_upstream_knows_by_another_spelling_is_the_upstreams(
    signing_key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    async with place(signing_key, tmp_path, own_issuers=True) as here:
        slash = trusted_with_slash(here)

        assert slash.presented([here.github.token()]) is None


def trusted_with_slash(here: Place) -> Machines:
    rules = here.machines._rules
    issuer = replace(rules.issuers[0], issuer=here.github.issuer + "/")
    here.machines._trusted = {here.github.issuer: issuer}
    return here.machines


class _Accounts:
    """Annotations that give the account of the namespace that a request is about."""

    def choose_now(self, machine: Machine, target: str) -> Choice | Refusal | None:
        name = target.rpartition("/")[2]
        return Choice(name, ServiceAccount("argo", name)) if name != "later" else None

    async def choose(self, machine: Machine, target: str) -> Choice | Refusal:
        return Refusal(("some",))


async def test_where_annotations_decide_each_request_is_asked_about(here: Place) -> None:
    here.machines._annotated = _Accounts()
    here.machines._rules = replace(here.machines._rules, rules=(), annotated=Annotated())

    entry = await here.entry(here.github.token(), "/api/v1/workflows/later")
    assert isinstance(entry.choice, Refusal)
    assert not here.machines.holds(entry, "/api/v1/workflows/ci")
    with pytest.raises(MachineCredentialUnavailable):
        await here.entry(here.github.token(), "/api/v1/workflows/ci")
    assert here.why_not() == "nobody here has tokens of service account argo/ci"


async def test_a_token_that_fails_a_check_is_not_remembered(here: Place) -> None:
    token = here.github.token(nbf=int(here.clock.now()) + 60)

    with pytest.raises(TokenInvalid, match="nbf"):
        await here.entry(token)
    here.clock.advance(30)
    assert await here.admitted(token)
