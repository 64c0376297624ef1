from django.apps import AppConfig


class EvaluationsConfig(AppConfig):
    name = "apps.evaluations"
    label = "evaluations"

    def ready(self) -> None:
        from apps.evaluations.evaluators import register_all  # noqa: PLC0415 (Django's registry is ready only here)

        register_all()
