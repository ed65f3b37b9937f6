"""Room for another connection where there are as many as there may be."""

import heapq

from sidecar.proxy.site import Site

SPARED_SECONDS = 0.5
"""Who has connected, or been answered, this lately may be about to send a request."""
_AT_ONCE = 50
"""A fiftieth of all gives way at once: looking for them takes longer than ending them."""


def make_room(site: Site, now: float) -> bool:
    """Whether there is room for one more, if need be at the cost of those who ask for nothing.

    Who has kept us waiting the longest goes first: strangers who hold connections open, send their
    heads a byte at a time or their bodies not at all, keep nobody out who has something to ask.
    """
    most = site.limits.connections
    if len(site.connections) - len(site.leaving) < most:
        return True
    waiting = [
        (since, id(front), front)
        for front in site.connections
        if (since := front.waits_since()) is not None and now - since > SPARED_SECONDS
    ]
    for _, _, front in heapq.nsmallest(max(1, most // _AT_ONCE), waiting):
        site.metrics.gave_way.inc()
        site.leaving.add(front)
        front.give_way()
    return bool(waiting)
