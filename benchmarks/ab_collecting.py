"""How fast exposures are added up, and whether what results cost grows with them.

`python -m benchmarks.ab_collecting [EVENTS]` makes a database of its own beside the development one, and drops it.
"""

import os
import sys
import time
from collections.abc import Callable

import django
from django.conf import settings
from django.db import connection
from django.db.models import F
from django.utils import timezone

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from apps.evaluations.ab_tests.collecting import collect  # noqa: E402 (models are there only now)
from apps.evaluations.ab_tests.folding import MOMENTS  # noqa: E402
from apps.evaluations.ab_tests.results import results_of  # noqa: E402
from apps.evaluations.models import ABArm, ABArmMeasure  # noqa: E402
from apps.executions.models import Execution  # noqa: E402
from apps.organizations.models import Organization  # noqa: E402
from apps.prompts.models import ABPhase, ABTest, ABVariant  # noqa: E402
from apps.prompts.services.definition import Definition  # noqa: E402
from apps.prompts.services.prompts import create_prompt  # noqa: E402
from tests.evaluations.ab_tests.exposing import execution_of  # noqa: E402

USUAL_EVENTS = 20_000
GOAL_PER_S = 2000
MANY_EXPOSURES = 1_000_000


def main(events: int) -> None:
    if settings.EMBEDDED is not None:
        settings.EMBEDDED.start()
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        measure(events)
    finally:
        connection.creation.destroy_test_db(settings.DATABASES["default"]["NAME"], verbosity=0)


def measure(events: int) -> None:
    test = make_test()
    for name, unit in (("each a unit of its own", lambda _: ""), ("of 1000 units", lambda n: f"unit {n % 1000}")):
        rows = [execution_of(test, ("control", "candidate")[n % 2], unit(n), latency_ms=n % 900) for n in range(events)]
        Execution.objects.bulk_create(rows, batch_size=2000)
        took_s = seconds(lambda: collect(test))
        rate = events / took_s
        print(
            f"{'ok  ' if rate >= GOAL_PER_S else 'MISS'} exposures {name}: {rate:,.0f} a second (goal {GOAL_PER_S:,})"
        )
    few = min(seconds(lambda: results_of(test)) for _ in range(5))
    scale = MANY_EXPOSURES // max(1, ABArm.objects.filter(test=test)[0].exposures)
    multiply(test, scale)
    many = min(seconds(lambda: results_of(test)) for _ in range(5))
    print(f"     results of {2 * events:,} exposures: {few * 1000:.1f} ms")
    print(f"     results of {2 * events * scale:,} exposures: {many * 1000:.1f} ms")


def multiply(test: ABTest, scale: int) -> None:
    """As if everything had happened so many times, to other units."""
    sums = ("units", "exposures", "squared_exposures")
    ABArm.objects.filter(test=test).update(**{name: F(name) * scale for name in sums})
    ABArmMeasure.objects.filter(test=test).update(**{name: F(name) * scale for name in MOMENTS})


def make_test() -> ABTest:
    organization = Organization.objects.create(name="Benchmark", slug="benchmark")
    definition: Definition = {"content": "Hello", "format": "simple"}
    prompt = create_prompt(organization_id=organization.id, created_by=None, name="Bench", definition=definition)
    said = {"organization": organization}
    success = {"name": "success", "measure": "success", "aggregation": "mean", "direction": "increase"}
    test = ABTest.objects.create(
        prompt=prompt, name="Bench", status="running", metrics=[success], primary_metric="success", min_effect=0.05,
        phase=1, started_at=timezone.now(), **said,
    )  # fmt: skip
    for position, name in enumerate(("control", "candidate")):
        ABVariant.objects.create(
            test=test, name=name, position=position, is_control=not position, weight=0.5,
            version=prompt.current_version, **said,
        )  # fmt: skip
    weights = {"control": 0.5, "candidate": 0.5}
    ABPhase.objects.create(test=test, number=1, weights=weights, started_at=timezone.now(), **said)
    return test


def seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else USUAL_EVENTS)
