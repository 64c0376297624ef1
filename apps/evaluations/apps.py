from django.apps import AppConfig

from everquant.workers import at_drain_end


class EvaluationsConfig(AppConfig):
    name = "apps.evaluations"
    label = "evaluations"

    def ready(self) -> None:
        from apps.evaluations.ab_tests.checking import check_departure  # noqa: PLC0415 (models must be ready)
        from apps.evaluations.ab_tests.examples import add_example_test  # noqa: PLC0415 (as above)
        from apps.evaluations.engine.drives import DRIVES  # noqa: PLC0415 (as above)
        from apps.evaluations.evaluators import register_all  # noqa: PLC0415 (Django's registry is ready only here)
        from apps.evaluations.examples import add_examples  # noqa: PLC0415 (as above)
        from apps.evaluations.promotion import enforcement  # noqa: PLC0415 (as above)
        from apps.evaluations.scoring.checking import check_score_of_execution  # noqa: PLC0415 (as above)
        from apps.executions.score_checks import register_score_check  # noqa: PLC0415 (as above)
        from apps.prompts.demo import ADDITIONS  # noqa: PLC0415 (as above)
        from apps.prompts.promotion import register_departure_check  # noqa: PLC0415 (as above)

        register_all()
        register_score_check(check_score_of_execution)
        ADDITIONS.extend(add for add in (add_examples, add_example_test) if add not in ADDITIONS)
        enforcement.register()
        register_departure_check(check_departure)
        at_drain_end(DRIVES.interrupt_all)
