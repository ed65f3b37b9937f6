"""The escapes of a condition's strings, as expr has them."""

import re

_PLAIN = dict(zip("abfnrtv\\'\"`?", "\a\b\f\n\r\t\v\\'\"`?", strict=True))
_ESCAPE = re.compile(
    r"\\(?:(?P<plain>[abfnrtv\\'\"`?])"
    r"|u\{(?P<braced>[0-9A-Fa-f]{1,6})\}"
    r"|(?:[xX](?P<two>[0-9A-Fa-f]{2})|u(?P<four>[0-9A-Fa-f]{4})|U(?P<eight>[0-9A-Fa-f]{8}))"
    r"|(?P<octal>[0-3][0-7]{2})"
    r"|(?P<unknown>.?))",
    re.DOTALL,
)


def unescaped(text: str) -> str:
    """What stands between the quotes, its escapes replaced.

    Raises:
        ValueError: an escape is none.
    """
    return _ESCAPE.sub(_character, text.replace("\r\n", "\n").replace("\r", "\n"))


def _character(found: re.Match[str]) -> str:
    if found["plain"]:
        return _PLAIN[found["plain"]]
    if found["unknown"] is not None:
        raise ValueError(f"no escape: {found[0]!r}. Write \\\\ for one \\")
    digits = found["braced"] or found["two"] or found["four"] or found["eight"]
    code = int(digits, 16) if digits else int(found["octal"], 8)
    if code > 0x10FFFF:
        raise ValueError(f"no character: {found[0]!r}")
    # A half of a pair is no character of its own; Go writes this one in its place.
    return "\ufffd" if 0xD800 <= code <= 0xDFFF else chr(code)
