"""The characters of strings, and a condition's escapes of them, as expr has them."""

import re

_CONTROLS = str.maketrans("abfnrtv", "\a\b\f\n\r\t\v")
_ESCAPE = re.compile(
    r"\\(?:(?P<plain>[abfnrtv\\'\"`?])"
    r"|u\{(?P<braced>[0-9A-Fa-f]{1,6})\}"
    r"|(?:[xX](?P<two>[0-9A-Fa-f]{2})|u(?P<four>[0-9A-Fa-f]{4})|U(?P<eight>[0-9A-Fa-f]{8}))"
    r"|(?P<octal>[0-3][0-7]{2})"
    r"|(?P<unknown>.?))"
)
_HALVES = re.compile("[\ud800-\udfff]")


def whole(text: str) -> str:
    """The text, with Go's sign for what is only half of a pair, and so no character."""
    return text if text.isascii() else _HALVES.sub("\ufffd", text)


def unescaped(text: str) -> str:
    """What stands between the quotes, its escapes replaced.

    Raises:
        ValueError: an escape is none.
    """
    return _ESCAPE.sub(_character, text.replace("\r", "\n"))


def _character(found: re.Match[str]) -> str:
    if found["plain"]:
        return found["plain"].translate(_CONTROLS)
    if found["unknown"] is not None:
        raise ValueError(f"no escape: {found[0]!r}. Write \\\\ for one \\")
    digits = found["braced"] or found["two"] or found["four"] or found["eight"]
    code = int(digits, 16) if digits else int(found["octal"], 8)
    if code > 0x10FFFF:
        raise ValueError(f"no character: {found[0]!r}")
    return whole(chr(code))
