"""That a grant's story tells what was written down, in its order."""

import json
from pathlib import Path

from sidecar.core.session import user_tag
from tests.chaos.evidence import Answers, Asked, Evidence, ForcedLogin, Halt
from tests.chaos.story import story
from tests.hostile.log import Entry

LOGIN = Entry(
    sequence=1, monotonic=10.0, wall=1010.0, kind="login", user="ada", grant=7, given=1,
    given_sha256="first", replica="cat",
)  # fmt: skip
REUSE = Entry(
    sequence=2, monotonic=20.0, wall=1020.0, kind="reuse", user="ada", grant=7, presented=1,
    replica="ann",
)  # fmt: skip
EVIDENCE = Evidence(
    log=(LOGIN, REUSE),
    stored={"first": 10.5},
    kills=(Halt(replica="cat", started_at=0, at=12.0, ports=frozenset({1})),),
    stops=(Halt(replica="ben", started_at=0, at=13.0, until=14.0),),
    forced_logins=(ForcedLogin(user="ada", at=21.0, how="401"),),
    answers=Answers(asked=[Asked(20.5, "ada", "ann", 401), Asked(20.5, "bob", "ben", 200)]),
    faults=((15.0, "the store has lost all"),),
    issuer="https://idp",
    client_id="argo-cd",
)


def test_a_grants_story_tells_what_all_had_to_do_with_it_in_its_order(tmp_path: Path) -> None:
    tag = user_tag("https://idp", "argo-cd", "ada")
    line = {"user": tag, "event": "renewed", "timestamp": "1970-01-01T00:16:51+00:00"}
    (tmp_path / "cat.log").write_text(json.dumps(line) + "\nTraceback\n")

    assert story(EVIDENCE, 7, tmp_path) == [
        " -11.000 provider: login by cat, token 0, gave 1, stored 0.500 s later",
        " -10.000 cat: renewed",
        "  -9.000 fault: cat, with 1 requests at the provider, is killed",
        "  -8.000 fault: ben, with 0 requests at the provider, stands still",
        "  -7.000 fault: ben goes on",
        "  -6.000 fault: the store has lost all",
        "  -1.000 provider: reuse by ann, token 1",
        "  -0.500 browser: ann answers 401",
        "   0.000 ada is told to log in: 401",
    ]


def test_of_a_grant_that_the_provider_never_gave_there_is_nothing_to_tell(tmp_path: Path) -> None:
    assert story(EVIDENCE, 8, tmp_path) == []
