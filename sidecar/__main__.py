"""The command line: `sidecar run`, `config`, `doctor`, `sessions`, `keys`, `rules`, `demo`."""

import asyncio
import gc
import os
import signal
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING

import structlog

from sidecar.app import SystemClock, running
from sidecar.config.environment import read_file
from sidecar.config.settings import Config
from sidecar.errors import ConfigurationError
from sidecar.loading import loading
from sidecar.logs import configure_logging
from sidecar.open_files import allow_open_files
from sidecar.operating import add, add_keys, add_rules, add_sessions

if TYPE_CHECKING:
    from sidecar.doctor.signing_in import User


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point of both commands."""
    given = _parser().parse_args(arguments)
    command: Callable[[Namespace], int] = given.command
    try:
        sys.exit(command(given))
    except ConfigurationError as error:
        _complain(str(error))
        sys.exit(2)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="sidecar", description="Keeps people logged in to Argo CD.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add(commands, "run", run)
    command = add(commands, "config", show_config)
    command.add_argument("--json", action="store_true", help="for programs")
    command = add(commands, "doctor", doctor)
    command.add_argument("--json", action="store_true", help="for programs")
    command.add_argument(
        "--outside", action="store_true", help="also through the public URL, as browsers come"
    )
    command.add_argument(
        "--login", action="store_true", help="also a whole login at the provider, by a test user"
    )
    command.add_argument("--user", help="who signs in; else DOCTOR_USER, else you in a browser")
    command.add_argument("--password-file", help="with the password; else DOCTOR_PASSWORD")
    command = add(commands, "demo", demo)
    command.add_argument("--check", action="store_true", help="do it without a person")
    command.add_argument(
        "--token-seconds", type=_token_seconds, default=20, help="the ID tokens' life (20)"
    )
    add_sessions(commands)
    add_keys(commands)
    add_rules(commands)
    add(commands, "version", version)
    return parser


def run(_: Namespace) -> int:
    """Serve, until SIGTERM. Everything is set by environment variables."""
    configure_logging(Config.load(os.environ).log_level.value)
    try:
        _run_loop()
    except OSError as error:
        _complain(f"cannot listen: {error.strerror or error}. Free the port, or set another")
        return 1
    return 0


def show_config(given: Namespace) -> int:
    """Every setting that is in force, where it comes from, and what is wrong with Argo CD's."""
    from sidecar.config import report  # what serves does not need it

    config = asyncio.run(_config_now())
    print(report.as_json(config) if given.json else report.as_text(config))
    return 0


def doctor(given: Namespace) -> int:
    """Look at every part, and say what is wrong, why it matters and the mend.

    The exit code is 0 where all is fine, 1 for warnings, 2 for faults.
    """
    from sidecar.doctor import report  # what serves does not need it
    from sidecar.doctor.findings import exit_code
    from sidecar.doctor.run import TrialLogin, examine

    configure_logging("error")
    trial = TrialLogin(_test_user(given), _in_a_browser) if given.login else None
    work = examine(os.environ, SystemClock(), from_outside=given.outside, trial_login=trial)
    try:
        findings = asyncio.run(work)
    except KeyboardInterrupt:
        return 130
    print(report.as_json(findings) if given.json else report.as_text(findings))
    return exit_code(findings)


def _test_user(given: Namespace) -> "User | None":
    """Who signs in by form: the password comes by file or environment, which nobody else sees."""
    from sidecar.doctor.signing_in import User

    name = given.user or os.environ.get("DOCTOR_USER", "")
    if not name:
        return None
    try:
        password = read_file(given.password_file) if given.password_file else ""
    except (OSError, ValueError):
        raise ConfigurationError(["--password-file cannot be read. Correct its path"]) from None
    password = password or os.environ.get("DOCTOR_PASSWORD", "")
    if not password:
        raise ConfigurationError(
            [f"The password of {name} is missing. Set DOCTOR_PASSWORD, or --password-file"]
        )
    return User(name, password)


async def _in_a_browser(url: str) -> str:
    """Have the operator sign in; the address that their browser ends at."""
    _complain(
        f"Open this in a browser, and sign in:\n\n{url}\n\n"
        "It ends at a page that refuses the sign-in. Paste that page's whole address here:"
    )
    return sys.stdin.readline(16384)


def demo(given: Namespace) -> int:
    """Show it: a provider, a stand-in for Argo CD and the sidecar, on this machine."""
    from sidecar.demo import run as demo_run  # what it starts is not installed in production

    configure_logging("warning")
    with suppress(KeyboardInterrupt):
        work = demo_run.main(_sidecar_with, check=given.check, token_seconds=given.token_seconds)
        return asyncio.run(work)
    return 0


async def _config_now() -> Config:
    configure_logging("error")
    log = structlog.get_logger()
    async with loading(os.environ, clock=SystemClock(), log=log) as loaded:
        return loaded.config


@asynccontextmanager
async def _sidecar_with(environment: Mapping[str, str]) -> AsyncIterator[None]:
    async with running(Config.load(environment)):
        yield


def version(_: Namespace) -> int:
    """The installed version."""
    from importlib import metadata  # zip files, CSV and mail, for one line

    print(metadata.version("argocd-token-refresh"))
    return 0


def _token_seconds(text: str) -> int:
    if not text.isdecimal() or int(text) < 2:
        raise ArgumentTypeError("a number of seconds, 2 or more")
    return int(text)


def _complain(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def _run_loop() -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(_serve())
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve())


async def _serve() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    clock, log = SystemClock(), structlog.get_logger()
    async with loading(os.environ, clock=clock, log=log) as found, AsyncExitStack() as owned:
        allow_open_files(found.config.max_connections, log)
        await owned.enter_async_context(
            running(found.config, load=found.load, clock=clock, log=log, checks=found.checks)
        )
        # What is there now stays. Without this, each full collection looks through all modules
        # again, and every connection waits 40 ms for it.
        gc.collect()
        gc.freeze()
        await stop.wait()


if __name__ == "__main__":
    main()
