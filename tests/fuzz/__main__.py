"""Fuzzing that coverage guides: `python -m tests.fuzz [property] [libFuzzer's options]`.

Without a property each has its turn. Without options that is a run as long as a change can wait
for, always with the same seed. Bytes for which a property does not hold are kept in `build/`:
give the file's name as an option to see them again.
"""

import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.seeds import PIECES, SEEDS

# Where atheris has wheels; elsewhere hypothesis alone looks.
_HAS_ATHERIS = sys.platform == "linux" and platform.machine() == "x86_64"
_SHORT = ("-runs=30000", "-seed=1", "-print_final_stats=1")
_KEEP = "-artifact_prefix=build/fuzz-"


def fuzz(name: str, options: Sequence[str]) -> bool:
    """Whether a property holds for all that atheris tries, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        seeds, words = Path(folder, "seeds"), Path(folder, "words")
        seeds.mkdir()
        for i, seed in enumerate(SEEDS[name]):
            seeds.joinpath(f"{i}").write_bytes(seed)
        words.write_text("".join(f'"{_escaped(piece)}"\n' for piece in PIECES))
        target = [sys.executable, "-m", "tests.fuzz.target", name]
        settings = [f"-dict={words}", "-max_len=4096", "-timeout=20", _KEEP]
        files = [] if any(not option.startswith("-") for option in options) else [str(seeds)]
        print(f"== {name}", flush=True)
        log = Path(f"build/fuzz-{name}.log")
        with log.open("wb") as said:
            command = [*target, *settings, *options, *files]
            done = subprocess.run(command, check=False, stdout=said, stderr=said).returncode == 0
        print("\n".join(log.read_text(errors="replace").splitlines()[-5 if done else -60 :]))
        return done


def _escaped(piece: bytes) -> str:
    """As libFuzzer's dictionaries have it."""
    return "".join(f"\\x{byte:02x}" for byte in piece)


def main(arguments: Sequence[str]) -> int:
    """The exit status: 0 where every property holds."""
    if not _HAS_ATHERIS:
        print("atheris has no wheels for this machine: the fuzzing is left out")
        return 0
    Path("build").mkdir(exist_ok=True)
    names = [argument for argument in arguments if argument in SEEDS] or list(SEEDS)
    options = [argument for argument in arguments if argument not in SEEDS] or list(_SHORT)
    return 0 if all([fuzz(name, options) for name in names]) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
