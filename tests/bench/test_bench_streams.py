from bench.streams import KINDS, streams


async def test_open_streams_are_measured_for_each_kind_of_connection() -> None:
    found = await streams(connections=300)
    assert set(found) == set(KINDS)
    for each in found.values():
        assert each["at_rest"] > 20
        assert each["per_thousand"] > 0
    # Each end of TLS has buffers of its own.
    assert found["tls in and out"]["per_thousand"] > found["plain"]["per_thousand"]
