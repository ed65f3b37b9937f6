"""Has redis-py loaded without OpenTelemetry, whose metrics it takes in wherever they are installed.

To be imported before anything else that loads redis. Whoever traces loads what that takes
afterwards; redis' own metrics are nothing that we ask for.
"""

import sys

if "redis" not in sys.modules and "opentelemetry" not in sys.modules:
    sys.modules["opentelemetry"] = None  # type: ignore[assignment]  # an import of it fails
    try:
        import redis.asyncio  # noqa: F401
    finally:
        del sys.modules["opentelemetry"]
