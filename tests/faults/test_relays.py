"""Relays in a process of their own do what a plan says, and tell of it."""

import asyncio

from tests.faults.plan import Kind, Mix
from tests.faults.relays import relays
from tests.faults.test_proxy import ANSWER, Server

AT_ONCE = Mix(
    kinds=(Kind.RESET,),
    quiet=(0.0, 0.0),
    lasts=(60.0, 60.0),
    after_bytes=(0, 0),
    lossy_share=(1.0, 1.0),
)


async def answer(port: int) -> tuple[bytes, int]:
    """What a question is answered, and from which port it was asked."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    own = writer.get_extra_info("sockname")[1]
    try:
        writer.write(b"question\n")
        return await reader.readexactly(len(ANSWER)), own
    except (ConnectionResetError, asyncio.IncompleteReadError):
        return b"", own
    finally:
        writer.close()


async def test_a_plan_is_followed_by_its_link_alone_and_the_losses_are_told() -> None:
    server = Server()
    async with server.running():
        servers = {name: f"127.0.0.1:{server.port}" for name in ("broken", "well")}
        async with relays(servers, seed=7) as links:
            assert (await answer(links.ports["broken"]))[0] == ANSWER

            await links.follow(7, {"broken": AT_ONCE})
            async with asyncio.timeout(10):
                while not links.faulty:
                    await links.look()
            lost, own_port = await answer(links.ports["broken"])

            assert lost == b""
            assert (await answer(links.ports["well"]))[0] == ANSWER
            async with asyncio.timeout(10):
                while not links.losses["broken"]:
                    await links.look()
            [loss] = links.losses["broken"]
            assert (loss.client_port, loss.fault.kind) == (own_port, Kind.RESET)
            assert loss.server_port in server.peers
            assert links.begun == {"broken: reset": 1}
            assert not links.losses["well"]


async def test_ports_are_told_while_a_connection_is_open() -> None:
    server = Server()
    async with server.running(), relays({"link": f"127.0.0.1:{server.port}"}, seed=1) as links:
        reader, writer = await asyncio.open_connection("127.0.0.1", links.ports["link"])
        writer.write(b"question\n")
        await reader.readexactly(len(ANSWER))

        own = writer.get_extra_info("sockname")[1]
        assert await links.server_ports("link", [own]) == {server.peers[-1]}
        writer.close()
