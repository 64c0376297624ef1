import gc

from django.apps import AppConfig
from django.core.cache import close_caches
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, reset_queries


class EverQuantConfig(AppConfig):
    """The project's own commands (`up`, `worker`) and its start: logging is set up here."""

    name = "everquant"
    label = "everquant"

    def ready(self) -> None:
        from everquant.logging import configure_logging  # noqa: PLC0415 (settings must be loaded first)

        configure_logging()
        _keep_off_every_request()
        # All apps are imported by now, for good: `manage.py` and `wsgi.py` switched the collector off until here.
        gc.freeze()
        # Of the objects of a request hardly any are garbage of cycles: looking for it after every 700 took a tenth of
        # the time of large answers, with pauses of up to 40 ms.
        gc.set_threshold(10_000, 10, 10)
        gc.enable()


def _keep_off_every_request() -> None:
    """Django's handlers that do nothing here: queries are only logged under DEBUG, and connections to Redis are kept.

    What gives a database connection back to its pool stays connected.
    """
    request_started.disconnect(reset_queries)
    request_started.disconnect(close_old_connections)
    request_finished.disconnect(close_caches)
