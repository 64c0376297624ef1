from django.apps import AppConfig


class EverQuantConfig(AppConfig):
    """The project's own commands (`up`, `worker`) and its start: logging is set up here."""

    name = "everquant"
    label = "everquant"

    def ready(self) -> None:
        from everquant.logging import configure_logging  # noqa: PLC0415 (settings must be loaded first)

        configure_logging()
