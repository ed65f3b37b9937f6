"""`python -m tests.hostile`: a hostile provider until standard input ends.

Prints `{"issuer": …, "control": …}` in one line once it serves.
"""

import argparse
import asyncio
import json
import sys

from sidecar.demo.server import serving
from tests.hostile.control import Control, settings_of
from tests.hostile.provider import HOST, HostileProvider


async def serve(arguments: argparse.Namespace) -> None:
    """Serve until standard input ends."""
    settings = settings_of(arguments.settings)
    provider = HostileProvider(settings, replicas=tuple(arguments.replica))
    control = Control(provider, settings).application()
    async with (
        serving(control, host=HOST, port=arguments.control_port, leaving_cancels=False) as address,
        provider.running(port=arguments.port) as issuer,
    ):
        print(json.dumps({"issuer": issuer, "control": address}), flush=True)
        await _end_of_input()


async def _end_of_input() -> None:
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    try:
        while await reader.read(65536):
            pass
    finally:
        transport.close()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--control-port", type=int, default=0)
    parser.add_argument("--replica", action="append", default=[], help="a name; may come again")
    parser.add_argument("--settings", default="{}", help="fields of HostileSettings, as JSON")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
