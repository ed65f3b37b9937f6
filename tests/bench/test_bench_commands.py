from bench.commands import commands


async def test_what_an_operators_commands_take_is_measured_for_each() -> None:
    found = await commands(counts=(10, 100))

    assert list(found) == [
        "list --json, 10",
        "list --json, 100",
        "list --user, 100",
        "keys rotate, 100",
        "end --all, 100",
    ]
    assert all(used["cpu_seconds"] > 0.1 and used["peak_mib"] > 20 for used in found.values())
