"""A Dockerfile, read and replayed without an engine: its stages, and its build in a folder."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.deploy.rendered import ROOT


@dataclass(frozen=True)
class Instruction:
    """One instruction, its lines joined."""

    name: str
    rest: str

    @property
    def words(self) -> list[str]:
        """The words of its JSON form, or of its plain one."""
        found: list[str] = json.loads(self.rest) if self.rest[:1] == "[" else self.rest.split()
        return found


def stages(text: str) -> list[list[Instruction]]:
    """The instructions of each stage, `FROM` first."""
    lines = [line for line in text.splitlines() if line.strip() and line[0] != "#"]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    found: list[list[Instruction]] = []
    for line in joined:
        name, rest = line.split(maxsplit=1)
        if name == "FROM":
            found.append([])
        found[-1].append(Instruction(name, rest.strip()))
    return found


class Replay:
    """A build stage, in a folder that stands for the image's root."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._workdir = root

    def run(self, stage: list[Instruction]) -> None:
        """Do what the instructions say; one that is not known is an error."""
        for instruction in stage:
            match instruction.name:
                case "FROM":
                    assert re.match(r"python:3\.\d+-slim\b", instruction.rest)
                case "WORKDIR":
                    self._workdir = self._at(instruction.rest)
                    self._workdir.mkdir(parents=True)
                case "COPY":
                    self._copy(*instruction.words)
                case "RUN":
                    self._shell(instruction.rest)
                case other:
                    raise AssertionError(f"{other} is not replayed")

    def _at(self, path: str) -> Path:
        return self._root / path.lstrip("/") if path.startswith("/") else self._workdir / path

    def _copy(self, source: str, target: str) -> None:
        assert source in {".", "requirements"}
        for path in in_context():
            if source in {".", path.parts[0]}:
                # What is copied of a folder is what is in it.
                inside = path if source == "." else path.relative_to(source)
                to = self._at(target) / inside
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / path, to)

    def _shell(self, command: str) -> None:
        here = re.sub(r"(?<![^\s=])/(?=[a-z])", f"{self._root}/", command)
        here = here.replace(" --no-cache-dir", "")  # nothing has to be downloaded twice
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["/bin/sh", "-ec", here],
            cwd=self._workdir,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert not done.returncode, done.stdout + done.stderr


def in_context() -> list[Path]:
    """The files that `.dockerignore` lets through: all but what it names after `*`."""
    first, *others = (ROOT / ".dockerignore").read_text().split()
    assert first == "*"
    let_in = {line[1:] for line in others if line[0] == "!"}
    assert {line for line in others if line[0] != "!"} == {"**/__pycache__", "**/.*_cache"}
    return [
        path.relative_to(ROOT)
        for name in sorted(let_in)
        for path in [ROOT / name, *(ROOT / name).rglob("*")]
        if path.is_file() and not re.search(r"/(__pycache__|\.[^/]*_cache)/", str(path))
    ]
