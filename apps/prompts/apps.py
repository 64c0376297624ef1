from django.apps import AppConfig


class PromptsConfig(AppConfig):
    name = "apps.prompts"
    label = "prompts"

    def ready(self) -> None:
        from apps.prompts.published import connect_invalidation  # noqa: PLC0415 (models must be loaded first)

        connect_invalidation()
