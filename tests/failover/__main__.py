"""`python -m tests.failover`: what each fault of a store costs, as `docs/store.md` has it."""

import asyncio
import json
import sys

from tests.failover.stories import STORIES
from tests.failover.story import told_some
from tests.failover.table import known, write
from tests.hostile.client import ROOT


async def main(names: list[str]) -> None:
    """Tell the stories that are named, else all; each outcome as a line of JSON, and a row."""
    stories = [story for story in STORIES if not names or story.name in names]
    outcomes = []
    async for outcome in told_some(stories, ROOT / "build" / "failover"):
        outcomes.append(outcome)
        print(json.dumps(outcome.to_json()), flush=True)
    write([*(known() if names else []), *outcomes])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
