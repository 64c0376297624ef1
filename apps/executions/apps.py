from django.apps import AppConfig


class ExecutionsConfig(AppConfig):
    name = "apps.executions"
    label = "executions"

    def ready(self) -> None:
        from apps.executions.orchestrator.candidates import connect_invalidation  # noqa: PLC0415 (models must be ready)

        connect_invalidation()
