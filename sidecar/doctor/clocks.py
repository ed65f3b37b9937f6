"""How far others' clocks are from ours. Plain functions."""

from collections.abc import Iterator

from sidecar.core.id_token import CLOCK_LEEWAY_SECONDS
from sidecar.doctor.fetch import Page
from sidecar.doctor.findings import Finding, fault, ok, warning

SKEW_SECONDS = 30.0


def clock(part: str, whose: str, page: Page) -> Iterator[Finding]:
    """How far another's clock is from ours, where it says."""
    if page.clock_ahead is not None:
        yield clock_finding(f"{part}.clock", whose, page.clock_ahead)


def clock_finding(name: str, whose: str, ahead: float) -> Finding:
    """How far another's clock is from ours."""
    if abs(ahead) <= SKEW_SECONDS:
        return ok(name, f"within {SKEW_SECONDS:.0f} s of {whose}'s clock")
    what = f"this clock is {abs(ahead):.0f} s {'behind' if ahead > 0 else 'ahead of'} {whose}'s"
    mend = "Set the clocks by NTP: the nodes', and the provider's"
    if abs(ahead) > CLOCK_LEEWAY_SECONDS:
        return fault(name, what, "ID tokens count as over, or as not yet good.", mend)
    return warning(name, what, "ID tokens seem to live shorter or longer than they do.", mend)
