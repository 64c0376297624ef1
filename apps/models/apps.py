from django.apps import AppConfig


class ModelsConfig(AppConfig):
    name = "apps.models"
    label = "models"

    def ready(self) -> None:
        from apps.models.services import create_default_models  # noqa: PLC0415 - models are loaded by now
        from apps.organizations.registry import on_organization_created  # noqa: PLC0415 - as above

        on_organization_created(create_default_models)
