from django.apps import AppConfig

from everquant.workers import at_drain_end


class WorkflowsConfig(AppConfig):
    name = "apps.workflows"
    label = "workflows"

    def ready(self) -> None:
        from apps.prompts.demo import ADDITIONS  # noqa: PLC0415 (models must be ready)
        from apps.workflows.engine.walk import WALKS  # noqa: PLC0415 (as above)
        from apps.workflows.examples import add_examples  # noqa: PLC0415 (as above)

        if add_examples not in ADDITIONS:
            ADDITIONS.append(add_examples)
        at_drain_end(WALKS.interrupt_all)
