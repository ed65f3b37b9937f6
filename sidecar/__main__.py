"""The command line: `sidecar run`, `sidecar config`, `sidecar demo`, `sidecar keys new`."""

import asyncio
import base64
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from importlib import metadata
from typing import Annotated

import typer

from sidecar.app import configure_logging, running
from sidecar.config import report
from sidecar.config.settings import Config
from sidecar.core.sealing import KEY_BYTES
from sidecar.errors import ConfigurationError

cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
keys = typer.Typer(no_args_is_help=True, help="The keys that seal what is stored.")
cli.add_typer(keys, name="keys")


def main() -> None:
    """The entry point of both commands."""
    cli()


@cli.callback()
def _root() -> None:
    """Keeps people logged in to Argo CD."""


@cli.command()
def run() -> None:
    """Serve, until SIGTERM. Everything is set by environment variables."""
    config = _load_config()
    configure_logging(config.log_level.value)
    try:
        _run_loop(config)
    except OSError as error:
        typer.echo(
            f"cannot listen: {error.strerror or error}. Free the port, or set another", err=True
        )
        raise typer.Exit(1) from None


@cli.command("config")
def show_config(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Every setting that is in force, where it comes from, and what is wrong with Argo CD's."""
    config = _load_config()
    typer.echo(report.as_json(config) if as_json else report.as_text(config))


@cli.command()
def demo(
    check: Annotated[bool, typer.Option("--check", help="Do it without a person.")] = False,
    token_seconds: Annotated[int, typer.Option(min=2, help="The ID tokens' life.")] = 20,
) -> None:
    """Show it: a provider, a stand-in for Argo CD and the sidecar, on this machine."""
    from sidecar.demo import run as demo_run  # what it starts is not installed in production

    configure_logging("warning")
    with suppress(KeyboardInterrupt):
        work = demo_run.main(_sidecar_with, check=check, token_seconds=token_seconds)
        raise typer.Exit(asyncio.run(work))


@asynccontextmanager
async def _sidecar_with(environment: Mapping[str, str]) -> AsyncIterator[None]:
    async with running(Config.load(environment)):
        yield


@keys.command("new")
def new_key(
    name: Annotated[str, typer.Argument(help="The key's id.")] = "1",
) -> None:
    """A fresh key, as SIDECAR_SESSION_KEYS takes it."""
    if not name.isalnum() or not name.isascii() or len(name) > 32:
        typer.echo("A key's id has 1 to 32 letters and digits, like 2026a", err=True)
        raise typer.Exit(2)
    typer.echo(f"{name}:{base64.b64encode(os.urandom(KEY_BYTES)).decode()}")


@cli.command()
def version() -> None:
    """The installed version."""
    typer.echo(metadata.version("argocd-token-refresh"))


def _load_config() -> Config:
    try:
        return Config.load(os.environ)
    except ConfigurationError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None


def _run_loop(config: Config) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(_serve(config))
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(config))


async def _serve(config: Config) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running(config, load=lambda: Config.load(os.environ)):
        await stop.wait()


if __name__ == "__main__":
    main()
