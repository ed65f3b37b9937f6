"""A log line for each request, at debug."""

from structlog.typing import FilteringBoundLogger

from sidecar.proxy.recorded import Record, Tell


def in_log(log: FilteringBoundLogger) -> Tell:
    """Writes a line for each request that has ended."""

    def tell(record: Record) -> None:
        waited = record.sent_at - record.began_at if record.sent_at else 0.0
        log.debug(
            "request",
            request_id=record.request_id,
            method=record.method,
            path=record.path,
            kind=record.kind.name.lower(),
            credential=record.credential,
            user=record.user_tag,
            status=record.status,
            ended=record.ended,
            waited_ms=round(waited * 1000, 3),
            took_ms=round((record.ended_at - record.began_at) * 1000, 3),
        )

    return tell
