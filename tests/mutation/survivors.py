"""The mutants that survive, and why they may: `survivors.toml`."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutation.mutants import OUTSIDE, Mutant

_LISTED = Path(__file__).with_name("survivors.toml")


@dataclass(frozen=True, order=True)
class Change:
    """A change, known by its words and not by its place, which moves with each line above it."""

    module: str
    function: str
    was: str
    now: str

    @classmethod
    def of(cls, mutant: Mutant) -> "Change":
        """A mutant's."""
        return cls(mutant.module, mutant.function, *mutant.change)

    @property
    def place(self) -> str:
        """Module and function, as the command takes them."""
        return f"{self.module}:{self.function or OUTSIDE}"

    def shown(self, name: str) -> str:
        """It, as a person reads it."""
        return f"{name}\n  - {self.was}\n  + {self.now}\n"


def explained() -> Mapping[Change, str]:
    """The changes that make no difference, and why.

    Raises:
        ValueError: one has no reason, or is there twice.
    """
    found: dict[Change, str] = {}
    document = tomllib.loads(_LISTED.read_text(encoding="utf-8"))
    for reason in document.get("survive", []):
        for listed in reason["changes"]:
            change = Change(**listed)
            if change in found or not reason["because"].strip():
                raise ValueError(f"{change} is there twice, or without a reason")
            found[change] = reason["because"]
    return found


def differences(survivors: Sequence[Mutant], listed: Mapping[Change, str]) -> list[str]:
    """How what survived differs from what is listed."""
    alive = {Change.of(mutant): mutant.name for mutant in survivors}
    new = {change: name for change, name in alive.items() if change not in listed}
    return [
        *(f"survives: {change.shown(name)}" for change, name in new.items()),
        *(
            f"is listed and does not survive: {change.shown(change.place)}"
            for change in sorted(listed)
            if change not in alive
        ),
    ]
