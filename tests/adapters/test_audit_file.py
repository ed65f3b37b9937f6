import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sidecar.adapters.audit_file import AuditFile, Stream


class Told:
    """What an audit file could not take, and what it said of itself."""

    def __init__(self, path: Path | str) -> None:
        self.otherwise: list[str] = []
        self.failed: list[str] = []
        self.file = AuditFile(str(path), otherwise=self.otherwise.append, failed=self.failed.append)


def test_lines_are_appended_to_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    path.write_text("before\n")
    told = Told(path)

    told.file.info("one")
    told.file.warning("two")

    assert path.read_text() == "before\none\ntwo\n"
    assert not told.failed


def test_only_the_owner_and_the_group_may_read_a_new_file(tmp_path: Path) -> None:
    told = Told(tmp_path / "audit.log")

    told.file.info("one")

    assert (tmp_path / "audit.log").stat().st_mode & 0o007 == 0


def renamed(path: Path) -> None:
    path.rename(f"{path}.1")


def replaced(path: Path) -> None:
    renamed(path)
    path.touch()


@pytest.mark.parametrize("rotate", [renamed, replaced, Path.unlink])
def test_after_a_rotation_the_new_file_is_written(
    tmp_path: Path, rotate: Callable[[Path], None]
) -> None:
    path = tmp_path / "audit.log"
    told = Told(path)
    told.file.info("one")

    rotate(path)
    told.file.info("two")

    assert path.read_text() == "two\n"
    assert not told.failed


def test_a_file_that_was_cut_short_is_written_from_its_new_end(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    told = Told(path)
    told.file.info("one")

    os.truncate(path, 0)
    told.file.info("two")

    assert path.read_text() == "two\n"


def test_a_full_disk_costs_no_line_and_raises_nothing() -> None:
    told = Told("/dev/full")

    told.file.info("one")
    told.file.info("two")

    assert told.otherwise == ["one", "two"]
    assert told.failed == ["No space left on device"]


def test_a_file_that_can_be_written_again_says_so_once(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    told = Told(folder / "audit.log")
    told.file.info("one")

    folder.mkdir()
    told.file.info("two")
    told.file.info("three")

    assert told.otherwise == ["one"]
    assert told.failed == ["No such file or directory", ""]
    assert (folder / "audit.log").read_text() == "two\nthree\n"


def test_a_pipe_that_nobody_reads_stops_nobody(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    told = Told(path)

    told.file.info("one")

    assert told.otherwise == ["one"]


def test_a_line_that_was_cut_takes_no_other_with_it(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    told = Told(path)
    try:
        told.file.info("x" * 200_000)  # more than a pipe takes
        os.read(reader, 200_000)
        told.file.info("two")

        assert os.read(reader, 100) == b"\ntwo\n"
        assert told.otherwise == ["x" * 200_000]
    finally:
        os.close(reader)
        told.file.close()


def test_a_stream_on_a_full_disk_raises_nothing() -> None:
    with open("/dev/full", "w", buffering=1) as full:
        Stream(lambda: full).info("one")
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())  # so that its close is no error


def test_a_stream_that_was_closed_raises_nothing(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as stream:
        pass

    Stream(lambda: stream).info("one")
