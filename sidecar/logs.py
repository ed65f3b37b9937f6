"""The log: JSON lines on standard error."""

import logging
import sys

import structlog
from structlog.typing import FilteringBoundLogger

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
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
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


def audit_log() -> FilteringBoundLogger:
    """JSON lines on standard error that no log level leaves out, for what an operator changes."""
    log: FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(sys.stderr),
        processors=[*_PROCESSORS, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    return log


def no_log() -> FilteringBoundLogger:
    """Nothing, for a command that says by itself what it comes upon, once."""
    log: FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
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
