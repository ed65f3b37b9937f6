"""`sidecar rules check` and `try`, as an operator types them."""

import io
import json
import time
from argparse import ArgumentParser
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from sidecar.app import SystemClock
from sidecar.commands import rules
from sidecar.operating import add_rules
from tests.fakes.github import AUDIENCE, REPOSITORY, GitHub

PAGE = Path(__file__).parents[2] / "docs" / "machine-rules.md"
SECRET_CLAIM = "hunter2"


@dataclass
class Desk:
    """Who looks at a file of rules, and a job's token."""

    github: GitHub
    folder: Path
    capsys: pytest.CaptureFixture[str]
    environ: dict[str, str] = field(default_factory=dict)

    def rules(self, *lines: str, issuer: str = "", more: str = "") -> str:
        """A file with these rules, for tokens of GitHub."""
        file = self.folder / "rules.yaml"
        listed = "".join(f"  - {{{line}}}\n" for line in lines)
        file.write_text(
            f"issuers:\n  - name: github\n    issuer: {issuer or self.github.issuer}\n"
            f"    audiences: {AUDIENCE}\n    algorithms: RS256\n{more}rules:\n{listed}"
        )
        return str(file)

    def change(self, file: str, before: str, after: str) -> str:
        """The file with another text in the place of one."""
        text = Path(file).read_text()
        assert before in text
        Path(file).write_text(text.replace(before, after))
        return file

    def token(self, text: str) -> str:
        """A file with a token."""
        file = self.folder / "token"
        file.write_text(f"{text}\n")
        return str(file)

    async def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """A command's exit code, standard output and standard error."""

        parser = ArgumentParser()
        add_rules(parser.add_subparsers())
        given = parser.parse_args(["rules", *arguments])
        if arguments[0] == "check":
            code = rules.check(given)
        else:
            code = await rules.try_token(given, self.environ, SystemClock())
        out, error = self.capsys.readouterr()
        return code, out, error


@pytest.fixture
async def desk(
    signing_key: rsa.RSAPrivateKey, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> AsyncIterator[Desk]:
    github = GitHub(time.time, signing_key)
    async with github.running():
        yield Desk(github, tmp_path, capsys)


ALL = "name: all, if: 'true', token_file: /run/all"
OURS = f"name: ours, if: \"repository == '{REPOSITORY}'\", token_file: /run/ours, precedence: 5"


async def test_a_good_file_is_shown_as_its_rules_are_tried(desk: Desk) -> None:
    found = await desk("check", desk.rules(ALL, OURS))

    assert found == (
        0,
        "issuers: github\nrules, as they are tried:\n"
        "ours (5): token file /run/ours\nall (0): token file /run/all\n",
        "",
    )


async def test_rules_in_annotations_are_said_to_be_there(desk: Desk) -> None:
    file = desk.change(desk.rules(), "rules:\n", "annotated_service_accounts: {}\n")

    assert await desk("check", file) == (
        0,
        "issuers: github\nrules: in the annotations of service accounts\n",
        "",
    )
    code, _, error = await desk("try", file, "--token-file", desk.token(desk.github.token()))
    assert (code, error) == (2, "The rules are in annotations of service accounts\n")


async def test_each_fault_of_a_file_is_a_line_that_editors_know(desk: Desk) -> None:
    file = desk.rules("name: a, if: sub ==, token_file: /t", "nam: b, if: 'true', token_file: /t")

    code, out, error = await desk("check", file)

    assert (code, error) == (1, "")
    assert out.splitlines() == [
        f"{file}:7:25: in the condition: ends too early",
        f"{file}:8:5: a rule lacks name",
        f"{file}:8:6: unknown key 'nam' in a rule. Did you mean name?",
    ]


@pytest.mark.parametrize("arguments", [("check",), ("try", "--claims-file", "/dev/null")])
async def test_a_file_that_cannot_be_read_is_said_to_be_none(
    desk: Desk, arguments: tuple[str, ...]
) -> None:
    code, out, error = await desk(*arguments, "/no/such/file")

    assert (code, out) == (2, "")
    assert error == "/no/such/file cannot be read: No such file or directory\n"


async def test_a_token_is_verified_and_the_rules_say_why_they_do_not_match(desk: Desk) -> None:
    file = desk.rules(
        "name: far, if: \"ref startsWith 'refs' and actor == 'x'\", token_file: /o, precedence: 9",
        "name: odd, if: \"'x' in groups\", token_file: /run/odd, precedence: 8",
        OURS,
        ALL,
    )
    token = desk.github.token(secret=SECRET_CLAIM)

    code, out, error = await desk("try", file, "--token-file", desk.token(token))

    assert (code, error) == (0, "")
    assert out == (
        f"issuer: github ({desk.github.issuer})\n"
        "token: verified by the issuer's keys\n"
        "far (9): does not match: actor == 'x'\n"
        "odd (8): fails: there is no claim 'groups'\n"
        "ours (5): matches\n"
        "all (0): would match too, after ours\n"
        "\n"
        "ours: token file /run/ours\n"
    )


async def test_a_token_that_no_rule_is_for_is_said_to_be_refused(desk: Desk) -> None:
    other = "  - {name: other, issuer: 'https://other.example', audiences: x}\n"
    file = desk.rules(
        "name: a, if: (actor == 'x'), token_file: /t",
        "name: b, issuers: other, if: 'true', token_file: /t",
        more=other,
    )

    code, out, _ = await desk("try", file, "--token-file", desk.token(desk.github.token()))

    assert code == 1
    assert out.splitlines()[2:] == [
        "a (0): does not match: (actor == 'x')",
        "b (0): is for tokens of other",
        "",
        "no rule matches: 403",
    ]


@pytest.mark.parametrize(
    ("made", "check"),
    [
        (lambda github: github.token(aud="somebody"), "aud"),
        (lambda github: github.token(exp=1_000_000_000), "exp"),
        (lambda github: github.token(header={"alg": "HS256"}), "alg"),
        (lambda github: github.token(header={"crit": ["x"]}), "crit"),
        (lambda github: github.token()[:-8] + "AAAAAAAA", "signature"),
    ],
)
async def test_a_token_that_would_be_refused_is_said_to_be(
    desk: Desk, made: Callable[[GitHub], str], check: str
) -> None:
    code, out, _ = await desk("try", desk.rules(ALL), "--token-file", desk.token(made(desk.github)))

    assert (code, out) == (1, f"refused: the token fails its check: {check}\n")


async def test_an_issuer_that_is_wrong_by_a_slash_is_pointed_out(desk: Desk) -> None:
    file = desk.rules(ALL, issuer=f"{desk.github.issuer}/")

    code, out, _ = await desk("try", file, "--token-file", desk.token(desk.github.token()))

    assert code == 1
    assert "they differ by a slash at the end" in out


async def test_a_token_of_another_issuer_is_said_to_be_left_alone(desk: Desk) -> None:
    token = desk.github.token(iss="https://other.example")

    code, out, _ = await desk("try", desk.rules(ALL), "--token-file", desk.token(token))

    assert code == 1
    assert out == (
        "refused: https://other.example is no issuer in the file; its tokens are left to the "
        "upstream\n"
    )


async def test_an_issuer_that_is_away_is_no_refusal(desk: Desk) -> None:
    desk.github.available = False

    code, out, error = await desk(
        "try", desk.rules(ALL), "--token-file", desk.token(desk.github.token())
    )

    assert (code, out) == (2, "")
    assert error.startswith("The keys of github cannot be had: ")


async def test_without_verification_the_issuer_is_not_asked(desk: Desk) -> None:
    token = desk.github.token(exp=1)

    code, out, _ = await desk(
        "try", desk.rules(OURS), "--no-verify", "--token-file", desk.token(token)
    )

    assert code == 0
    assert "token: nothing of it was verified\n" in out
    assert desk.github.asked == []


async def test_the_documentation_shows_what_the_command_prints(desk: Desk) -> None:
    page = PAGE.read_text(encoding="utf-8")
    (desk.folder / "rules.yaml").write_text(page.partition("```yaml\n")[2].partition("```")[0])
    claims = {
        "iss": "https://token.actions.githubusercontent.com",
        "repository": "acme/deploy",
        "ref": "refs/heads/other",
    }
    (desk.folder / "claims.json").write_text(json.dumps(claims))

    code, out, _ = await desk(
        "try", str(desk.folder / "rules.yaml"), "--claims-file", str(desk.folder / "claims.json")
    )

    assert code == 0
    out = out.replace("claims: from a file", "token: verified by the issuer's keys")
    assert f"--token-file token\n{out}```" in page


async def test_claims_can_be_tried_without_a_token(desk: Desk) -> None:
    file = desk.folder / "claims.json"
    file.write_text(json.dumps(desk.github.claims(repository="other")))

    code, out, _ = await desk("try", desk.rules(OURS, ALL), "--claims-file", str(file))

    assert code == 0
    assert out.splitlines()[1:3] == [
        "claims: from a file",
        f"ours (5): does not match: repository == '{REPOSITORY}'",
    ]


async def test_a_token_comes_from_standard_input_too(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = io.TextIOWrapper(io.BytesIO(desk.github.token().encode()))
    monkeypatch.setattr("sys.stdin", given)

    code, _, _ = await desk("try", desk.rules(ALL), "--token-file", "-")

    assert code == 0


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("", "holds no JWT that names an issuer"),
        ("a.b", "holds no JWT that names an issuer"),
        ("e30.e30.e30", "holds no JWT that names an issuer"),
        ("x" * 100_000, "holds no JWT that names an issuer"),
    ],
    ids=["empty", "short", "nobody's", "long"],
)
async def test_what_is_no_token_is_said_to_be_none(desk: Desk, token: str, said: str) -> None:
    code, out, error = await desk("try", desk.rules(ALL), "--token-file", desk.token(token))

    assert (code, out) == (2, "")
    assert said in error


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1, "a": 2}'])
async def test_what_is_no_claims_is_said_to_be_none(desk: Desk, text: str) -> None:
    file = desk.folder / "claims.json"
    file.write_text(text)

    code, out, error = await desk("try", desk.rules(ALL), "--claims-file", str(file))

    assert (code, out) == (2, "")
    assert error.startswith("the file of claims is no JSON object")


async def test_rules_that_cannot_be_used_are_not_tried(desk: Desk) -> None:
    file = desk.rules("name: a")

    code, out, error = await desk("try", file, "--claims-file", "/dev/null")

    assert (code, out) == (2, "")
    assert error == f"{file} cannot be used. See: sidecar rules check {file}\n"


async def test_authorities_that_are_none_are_said_to_be(desk: Desk) -> None:
    file = desk.change(desk.rules(ALL), "algorithms: RS256", "ca_file: /dev/null")

    code, _, error = await desk("try", file, "--token-file", desk.token(desk.github.token()))

    assert code == 2
    assert error.startswith("How github is reached cannot be used: has no certificates")


async def test_an_issuer_is_looked_for_where_it_is_resolved(
    desk: Desk,
) -> None:
    address = desk.github.issuer.removeprefix("http://")
    desk.github.issuer = "http://github.invalid:8000"
    desk.environ["SIDECAR_RESOLVE"] = f"github.invalid:8000={address}"

    code, out, error = await desk(
        "try", desk.rules(ALL), "--token-file", desk.token(desk.github.token())
    )

    assert (code, error) == (0, "")
    assert "verified by the issuer's keys" in out


async def test_no_command_shows_a_token_or_a_claims_value(desk: Desk) -> None:
    said = ""
    token = desk.github.token(secret=SECRET_CLAIM)
    file = desk.rules(
        "name: a, if: secret + 1 == 2, token_file: /t",
        "name: b, if: secret == 'x', token_file: /t",
        ALL,
    )
    for text in (token, token[:-8] + "AAAAAAAA", token.rpartition(".")[0]):
        for how in ([], ["--no-verify"]):
            said += "".join(
                str(part)
                for part in await desk("try", file, *how, "--token-file", desk.token(text))
            )

    assert SECRET_CLAIM not in said
    assert not any(part in said for part in token.split("."))
