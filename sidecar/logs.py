"""The logs: JSON lines on standard error, and audit events where an operator wants them."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from structlog.typing import FilteringBoundLogger

from sidecar.adapters.audit_file import AuditFile, Stream

_PROCESSORS: tuple[structlog.typing.Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso"),
)


def configure_logging(level: str) -> None:
    """JSON lines on standard error, for the sidecar and for the libraries below it."""
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*_PROCESSORS, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: Stream(lambda: sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_PROCESSORS,
            processors=[_without_traceback, structlog.processors.JSONRenderer()],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)


@contextmanager
def audit_log(
    where: str, log: FilteringBoundLogger, *, failed: Callable[[], None]
) -> Iterator[FilteringBoundLogger]:
    """The log for audit events, which no log level leaves out: `stdout`, `off`, or a file's path.

    What a file does not take goes to standard error; `failed` is told when that begins.
    """
    if where == "off":
        yield no_log()
    elif where == "stdout":
        yield _json_lines(Stream(lambda: sys.stdout))
    else:

        def tell(why: str) -> None:
            if why:
                failed()
                mend = "see SIDECAR_AUDIT_LOG; its lines go to standard error meanwhile"
                log.error("audit_log_not_written", error=why, mend=mend)
            else:
                log.warning("audit_log_written_again")

        file = AuditFile(where, otherwise=Stream(lambda: sys.stderr).msg, failed=tell)
        try:
            yield _json_lines(file)
        finally:
            file.close()


def command_audit_log(where: str) -> FilteringBoundLogger:
    """The same for a command: always on standard error, where its operator sees it.

    With a file as the sidecar's audit log it is there, too: that is where others look for it.
    """
    stream = Stream(lambda: sys.stderr)
    if not where.startswith("/"):
        return _json_lines(stream)
    file = AuditFile(where, otherwise=lambda _: None, failed=lambda _: None)
    return _json_lines(_Both(stream, file))


def no_log() -> FilteringBoundLogger:
    """Nothing, for a command that says by itself what it comes upon, once."""
    return _json_lines(Stream(lambda: sys.stderr), level=logging.CRITICAL)


class _Both:
    """Two places for each line."""

    def __init__(self, stream: Stream, file: AuditFile) -> None:
        self._places = (stream, file)

    def info(self, line: str) -> None:
        for place in self._places:
            place.msg(line)

    warning = error = info


def _json_lines(place: Any, level: int = logging.INFO) -> FilteringBoundLogger:
    log: FilteringBoundLogger = structlog.wrap_logger(
        place,
        processors=[*_PROCESSORS, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    return log


def _without_traceback(
    _: object, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """A library's log line with the kind of its error only: messages may quote a request."""
    record = event.pop("_record", None)
    event.pop("_from_structlog", None)
    if record is not None and record.exc_info and record.exc_info[0]:
        event["error"] = record.exc_info[0].__name__
    event.pop("exc_info", None)
    return event
