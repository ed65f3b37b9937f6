"""The commands for who operates it: what they take. What they do is loaded when it is asked for."""

import argparse
import asyncio
import base64
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Coroutine, Mapping
from typing import TypeAlias

from sidecar.app import SystemClock
from sidecar.core.sealing import KEY_BYTES
from sidecar.logs import configure_logging

Commands: TypeAlias = "argparse._SubParsersAction[ArgumentParser]"


def add(
    commands: Commands,
    name: str,
    command: Callable[[Namespace], int],
) -> ArgumentParser:
    """A command whose docstring is its help."""
    parser = commands.add_parser(name, help=command.__doc__, description=command.__doc__)
    parser.set_defaults(command=command)
    return parser


def add_sessions(commands: Commands) -> None:
    """`sidecar sessions …`."""
    of_sessions = commands.add_parser("sessions", help="who is logged in, and the end of it")
    below = of_sessions.add_subparsers(title="commands", required=True, metavar="COMMAND")
    listing, ending = add(below, "list", list_sessions), add(below, "end", end_sessions)
    for command in (listing, ending):
        command.add_argument("--user", help="by subject, email or name, as the ID token has it")
        command.add_argument("--group", help="all whose ID token has this group")
        command.add_argument("--session", help="by the first digits, 8 or more, as they are listed")
        command.add_argument(
            "--key", help="all whose cookie the key with this id signed, or may have"
        )
    listing.add_argument("--json", action="store_true", help="a line for each, for programs")
    listing.add_argument(
        "--limit", type=_limit, help="how many at most (1000, with --json no limit, which 0 is)"
    )
    ending.add_argument("--all", action="store_true", help="everybody's")
    ending.add_argument("--yes", action="store_true", help="with --all: ask nothing")
    ending.add_argument(
        "--revoke", action="store_true", help="at the provider too; says what could not be"
    )


def add_keys(commands: Commands) -> None:
    """`sidecar keys …`."""
    of_keys = commands.add_parser("keys", help="the keys that seal what is stored")
    below = of_keys.add_subparsers(title="commands", required=True, metavar="COMMAND")
    command = add(below, "new", new_key)
    command.add_argument("id", nargs="?", type=_key_id, default="1", help="the key's id (1)")
    add(below, "derived", show_derived_key)
    for name, told in (("status", key_status), ("rotate", rotate_keys)):
        command = add(below, name, told)
        command.add_argument("--json", action="store_true", help="for programs")


def add_rules(commands: Commands) -> None:
    """`sidecar rules …`."""
    of_rules = commands.add_parser("rules", help="the file of rules for machines")
    below = of_rules.add_subparsers(title="commands", required=True, metavar="COMMAND")
    checking, trying = add(below, "check", check_rules), add(below, "try", try_rules)
    for command in (checking, trying):
        command.add_argument("file", help="as SIDECAR_MACHINE_RULES names it")
    of_whom = trying.add_mutually_exclusive_group(required=True)
    of_whom.add_argument("--token-file", help="with the token; - is standard input")
    of_whom.add_argument("--claims-file", help="with claims as JSON, in the place of a token")
    trying.add_argument(
        "--no-verify", action="store_true", help="check nothing of the token but the rules"
    )


def check_rules(given: Namespace) -> int:
    """All that is wrong with a file of rules, or the rules in the order in which they are tried.

    The exit code is 0 where it can be used, 1 where it cannot, 2 where it cannot be read.
    """
    from sidecar.commands import rules  # what serves does not need it

    return rules.check(given)


def try_rules(given: Namespace) -> int:
    """What a token leads to by a file of rules, and why. The token is never shown.

    The exit code is 0 where a rule matches, 1 where none does or the token would be refused, 2
    where that cannot be said.
    """
    from sidecar.commands import rules  # what serves does not need it

    return _command(rules.try_token, given)


def new_key(given: Namespace) -> int:
    """A fresh key, as SIDECAR_SESSION_KEYS takes it."""
    print(f"{given.id}:{base64.b64encode(os.urandom(KEY_BYTES)).decode()}")
    return 0


def show_derived_key(given: Namespace) -> int:
    """The key that follows from Argo CD's server.secretkey, as SIDECAR_SESSION_KEYS takes it.

    To begin with keys of one's own, and end no session: see docs/key-rotation.md.
    """
    from sidecar.commands import keys  # what serves does not need it

    return _command(keys.derived, given)


def list_sessions(given: Namespace) -> int:
    """Who is logged in. What is shown of a session lets nobody in.

    The exit code is 0, 1 where some could not be opened, 2 where nothing could be done.
    """
    from sidecar.commands import sessions  # what serves does not need it

    if given.limit is None:
        given.limit = 0 if given.json else 1000
    return _command(sessions.list_sessions, given)


def end_sessions(given: Namespace) -> int:
    """End sessions, everywhere within a second. A JSON line on standard error tells of each.

    The exit code is 0, 1 where not all could be done or nobody was meant, 2 where nothing could.
    """
    from sidecar.commands import sessions  # what serves does not need it

    return _command(sessions.end_sessions, given)


def key_status(given: Namespace) -> int:
    """Where the rotation of the keys is, and what comes next. Nothing is changed.

    The exit code is 0 where nothing is left to do, 1 where something is, 2 for a fault.
    """
    from sidecar.commands import keys  # what serves does not need it

    return _command(keys.status, given)


def rotate_keys(given: Namespace) -> int:
    """Do the next step of a rotation of the keys, and say what comes then. Run it again and again.

    The exit code is 0 where nothing is left to do, 1 where something is, 2 for a fault.
    """
    from sidecar.commands import keys  # what serves does not need it

    return _command(keys.rotate, given)


def _command(
    work: Callable[[Namespace, Mapping[str, str], SystemClock], Coroutine[None, None, int]],
    given: Namespace,
) -> int:
    """The exit code of a command over the store."""
    configure_logging("error")
    try:
        return asyncio.run(work(given, os.environ, SystemClock()))
    except KeyboardInterrupt:
        print("Broken off. What was done until then holds; run it again", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _key_id(text: str) -> str:
    if not text.isalnum() or not text.isascii() or len(text) > 32:
        raise ArgumentTypeError("a key's id has 1 to 32 letters and digits, like 2026a")
    return text


def _limit(text: str) -> int:
    if not text.isdecimal():
        raise ArgumentTypeError("a number; 0 is no limit")
    return int(text)
