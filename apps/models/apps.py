import gc
import threading
from typing import Any

from django.apps import AppConfig
from django.core.signals import request_started


class ModelsConfig(AppConfig):
    name = "apps.models"
    label = "models"

    def ready(self) -> None:
        from apps.models.services import create_default_models  # noqa: PLC0415 - models are loaded by now
        from apps.organizations.registry import on_organization_created  # noqa: PLC0415 - as above

        on_organization_created(create_default_models)
        request_started.connect(_load_prices_aside, dispatch_uid="models.prices")


def _load_prices_aside(**_: Any) -> None:
    """At a web process's first request: the price catalog takes a second to load, which no caller should wait for."""
    request_started.disconnect(dispatch_uid="models.prices")
    threading.Thread(target=_load_prices, name="load-prices", daemon=True).start()


def _load_prices() -> None:
    """The catalog stays, as all that the first request has imported: the collector would look at it again and again."""
    from apps.models.prices import load_catalog  # noqa: PLC0415 - models are loaded by now

    load_catalog()
    gc.freeze()
