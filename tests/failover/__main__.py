"""`python -m tests.failover`: what each fault of a store costs, as `docs/store.md` has it."""

import asyncio
import json
import sys

from tests.failover.stories import STORIES
from tests.failover.story import told
from tests.hostile.client import ROOT

BUILD = ROOT / "build"


async def main(names: list[str]) -> None:
    for story in STORIES:
        if names and story.name not in names:
            continue
        outcome = await told(story, BUILD / "failover")
        print(json.dumps(outcome.to_json()), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
