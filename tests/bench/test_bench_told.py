from bench.told import KINDS, told


async def test_what_is_told_of_a_request_is_measured_for_each_way_of_telling() -> None:
    found = await told(requests=1000, rounds=1)

    assert set(found) == set(KINDS)
    assert found["all"]["microseconds"] > found["off"]["microseconds"] > 1
    assert found["all"]["mib"] > found["off"]["mib"] > 20
