from django.apps import AppConfig


class WorkflowsConfig(AppConfig):
    name = "apps.workflows"
    label = "workflows"

    def ready(self) -> None:
        from apps.prompts.demo import ADDITIONS  # noqa: PLC0415 (models must be ready)
        from apps.workflows.examples import add_examples  # noqa: PLC0415 (as above)

        if add_examples not in ADDITIONS:
            ADDITIONS.append(add_examples)
