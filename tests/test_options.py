"""What may stand on a command line, which everybody on the machine can read."""

import argparse
from collections.abc import Iterator

import pytest

from sidecar.__main__ import _parser

SECRETS = ("password", "secret", "token", "cookie")


def options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The long options of a parser and of all its commands."""
    for action in parser._actions:
        yield from (name for name in action.option_strings if name.startswith("--"))
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from options(command)


def test_every_commands_options_are_looked_at() -> None:
    assert {"--json", "--password-file", "--token-seconds"} <= set(options(_parser()))


@pytest.mark.parametrize("option", sorted(set(options(_parser()))))
def test_no_option_takes_a_secret_itself(option: str) -> None:
    names_one = any(word in option for word in SECRETS)

    assert not names_one or option.endswith(("-file", "-seconds"))
