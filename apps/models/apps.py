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
    from apps.models.prices import load_catalog  # noqa: PLC0415 - models are loaded by now

    request_started.disconnect(dispatch_uid="models.prices")
    threading.Thread(target=load_catalog, name="load-prices", daemon=True).start()
