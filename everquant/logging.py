"""One JSON line an event on standard output, each with the request's id."""

import logging
import logging.config
from typing import Any

import orjson
import structlog
from django.conf import settings
from structlog.typing import EventDict

from everquant.context import current


def _add_request(_logger: Any, _name: str, event: EventDict) -> EventDict:
    context = current()
    if context is not None:
        event.setdefault("request_id", context.request_id)
    return event


def _to_json(_logger: Any, _name: str, event: EventDict) -> bytes:
    try:
        return _dump(event)
    except orjson.JSONEncodeError:  # lone surrogates: what clients send must not be able to break the log
        return _dump({k: v.encode(errors="replace").decode() if isinstance(v, str) else v for k, v in event.items()})


def _dump(event: EventDict) -> bytes:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS)


def _to_text(logger: Any, name: str, event: EventDict) -> str:
    return _to_json(logger, name, event).decode(errors="replace")


_SHARED: list[Any] = [
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    _add_request,
]


def configure_logging() -> None:
    """Send structlog and the standard library's loggers through the same formatter."""
    structlog.configure(
        processors=[*_SHARED, structlog.processors.format_exc_info, _to_json],
        wrapper_class=structlog.make_filtering_bound_logger(settings.LOG_LEVEL),
        logger_factory=structlog.BytesLoggerFactory(),
        cache_logger_on_first_use=not settings.TESTING,
    )
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": _SHARED,
        "processors": [
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _to_text,
        ],
    }
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"json": formatter},
            "handlers": {
                "stdout": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "json"}
            },
            "root": {"handlers": ["stdout"], "level": settings.LOG_LEVEL},
            "loggers": {
                # every answer has its line from the request middleware already
                "django.request": {"level": "CRITICAL"},
                "django.server": {"level": "CRITICAL"},
                "procrastinate": {"level": "WARNING"},
            },
        }
    )
