"""More than a replica is set for: it stays up, serves those it knows, and grows no further."""

import pytest

from tests.chaos.overload import LOGINS, UNKNOWN_COOKIES, overload
from tests.chaos.run import RESULTS, write_result

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

SERVED = 0.95  # of the known people's requests, while strangers hold ten times what there is
MOST_MIB = 150


async def test_known_people_are_served_while_strangers_ask_for_ten_times_what_there_is(
    seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    found = await overload(seed, logs=RESULTS / "chaos" / "overload")

    result = {
        "seed": seed,
        "served": {name: round(found.served(name), 3) for name in found.statuses},
        "requests": {name: told.total() for name, told in found.statuses.items()},
        "sent": dict(found.sent),
        "connections_gave_way": found.gave_way,
        "largest_mib": round(found.largest_mib, 1),
    }
    with capsys.disabled():
        print("\n" + write_result("overload", result))
    for told in found.statuses.values():
        assert set(told) <= {0, 200, 408, 503}
    assert min(found.served(name) for name in found.statuses) >= SERVED
    assert found.served("nothing") == 1.0
    assert found.gave_way > 0
    assert (found.sent["cookies"], found.sent["logins"]) == (UNKNOWN_COOKIES, LOGINS)
    assert found.largest_mib < MOST_MIB
