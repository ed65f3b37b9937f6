import os
import random

import pytest


@pytest.fixture(scope="session")
def seed() -> int:
    """The seed of the plan: `CHAOS_SEED`, or a new one."""
    return int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(10**6))
