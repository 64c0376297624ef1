from django.apps import AppConfig

from everquant.workers import at_drain_end


class ExecutionsConfig(AppConfig):
    name = "apps.executions"
    label = "executions"

    def ready(self) -> None:
        from apps.executions.orchestrator import budgeting, candidates, leases  # noqa: PLC0415 (models must be ready)

        candidates.connect_invalidation()
        budgeting.connect_invalidation()
        at_drain_end(leases.LEASES.interrupt_all)
