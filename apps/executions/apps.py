from django.apps import AppConfig


class ExecutionsConfig(AppConfig):
    name = "apps.executions"
    label = "executions"

    def ready(self) -> None:
        from apps.executions.orchestrator import budgeting, candidates  # noqa: PLC0415 (models must be ready)

        candidates.connect_invalidation()
        budgeting.connect_invalidation()
