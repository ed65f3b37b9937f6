"""The tables of `docs/attacks.md`, from the list of attacks."""

from tests.attacks.attack import CLASSES, Attack
from tests.attacks.registry import ATTACKS


def attack_tables() -> str:
    """In Markdown, for each class the attacks that it comes first for, and where others are."""
    return "\n".join(_section(number, title) for number, title in CLASSES.items())


def place_of(attack: Attack) -> str:
    """The function that carries an attack out, as `file::name`."""
    file = attack.run.__module__.replace(".", "/")
    return f"{file}.py::{attack.run.__name__}"


def _section(number: int, title: str) -> str:
    mine = [attack for attack in ATTACKS if attack.classes[0] == number]
    also = [f"`{attack.name}`" for attack in ATTACKS if number in attack.classes[1:]]
    lines = [f"### {number}. {title}", ""]
    if mine:
        lines += ["| The attacker | What stops it | Test |", "| --- | --- | --- |"]
        lines += [_row(attack) for attack in mine]
        lines.append("")
    if also:
        lines += [f"Also: {', '.join(also)}.", ""]
    return "\n".join(lines)


def _row(attack: Attack) -> str:
    stops = "; ".join(f"{d.what}: `{_dotted(d.name)}`" for d in attack.defences)
    place = place_of(attack).removeprefix("tests/attacks/")
    return f"| {attack.does.replace('|', chr(92) + '|')} | {stops} | `{place}` |"


def _dotted(name: str) -> str:
    return name.removeprefix("sidecar.").replace(":", ".")
