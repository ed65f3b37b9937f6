"""`python -m tests.soak`: replicas and people for `SOAK_SECONDS`, with faults the whole time.

Writes `build/soak.json`. After a run of five minutes or more `docs/soak.json`, and what
`docs/reliability.md` shows of it, too. `CHAOS_SEED` repeats the plan of an earlier run.
"""

import asyncio
import json
import os
import random
import sys
from typing import Any

from bench.machine import allow_many_files
from tests.chaos.run import RESULTS
from tests.faults.plan import Again
from tests.soak import page
from tests.soak.run import soak

SECONDS = 600.0
PAGE_SECONDS = 300.0


def main() -> None:
    """Run it; the exit code says whether it was good."""
    seconds = float(os.environ.get("SOAK_SECONDS") or SECONDS)
    seed = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(10**6))
    allow_many_files()
    found = asyncio.run(soak(seed, seconds, logs=RESULTS / "soak"))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "soak.json").write_text(json.dumps(found) + "\n")
    if seconds >= PAGE_SECONDS:
        page.put(found)
    print(json.dumps({k: v for k, v in found.items() if k not in ("series", "stories")}, indent=1))
    if wrong := faults_of(found):
        again = Again(seed, "make soak", {"SOAK_SECONDS": f"{seconds:g}"})
        sys.exit("\n".join([*found["stories"], "", *wrong, str(again)]))


def faults_of(found: dict[str, Any]) -> list[str]:
    """What of a result must not be."""
    never = {
        "forced_logins_unexplained": "logins that nothing explains",
        "reuses_unexplained": "spent refresh tokens presented for no reason",
        "growth": "something grows",
        "expired_tokens": "expired tokens went up",
        "without_retry_after": "answers that say later, and not when",
        "strange": "answers that nobody should get",
    }
    wrong = [f"{means}: {found[name]}" for name, means in never.items() if found[name]]
    return wrong if found["renewals"] else [*wrong, "nothing was renewed"]


if __name__ == "__main__":
    main()
