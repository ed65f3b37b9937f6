"""`python -m tests.chaos.nursery`: starts sidecars at once, since it has imported them before.

Importing takes a second of a core: with a kill each second, half of a small machine. Each line
on standard input, `{"environment": …, "log": …}`, is answered with the process id of a
`sidecar run` of its own. They die with this process, and it ends with its standard input.
"""

import ctypes
import json
import os
import signal
import sys

import sidecar.__main__


def serve(environment: dict[str, str], log: str) -> None:
    """In the new process: what `sidecar run` does."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (written, 1), (written, 2)):
        os.dup2(source, target)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["sidecar", "run"]
    try:
        sidecar.__main__.main()
    finally:
        os._exit(1)


def main() -> None:
    """Fork until standard input ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead are gone at once
    print("ready", flush=True)
    while line := sys.stdin.readline():
        wanted = json.loads(line)
        pid = os.fork()
        if pid == 0:
            serve(**wanted)
        print(pid, flush=True)


if __name__ == "__main__":
    main()
