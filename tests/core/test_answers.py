import json

import pytest

from sidecar.core.answers import session_ended
from sidecar.core.devtron import UNAUTHORIZED
from sidecar.core.heads import Kind
from sidecar.core.upstream_kinds import UpstreamKind


@pytest.mark.parametrize(
    ("kind", "status", "part"),
    [
        (Kind.API, 401, b"invalid session"),
        (Kind.STREAM, 401, b"invalid session"),
        (Kind.COOKIE_ONLY, 401, b"Invalid token"),
        (Kind.USERINFO, 200, b'{"iss":"sso"}'),
    ],
)
def test_a_session_that_has_ended_is_told_as_argo_cd_tells_it(
    kind: Kind, status: int, part: bytes
) -> None:
    answer = session_ended(kind)

    assert answer is not None
    assert answer.status == status
    assert part in answer.body


def test_a_page_goes_on_to_argo_cd_though_its_session_has_ended() -> None:
    assert session_ended(Kind.PAGE) is None


@pytest.mark.parametrize("kind", [Kind.API, Kind.STREAM])
def test_devtron_tells_all_of_a_session_that_has_ended_in_one_way(kind: Kind) -> None:
    answer = session_ended(kind, UpstreamKind.DEVTRON)

    assert answer
    assert (answer.status, json.loads(answer.body)) == (401, UNAUTHORIZED)
    assert session_ended(Kind.PAGE, UpstreamKind.DEVTRON) is None
