"""Several workers collect while tests are stopped and executions go on ending."""

import threading

import pytest
from django.db import connection

from apps.evaluations.ab_tests import services
from apps.evaluations.ab_tests.collecting import AT_ONCE, collect
from apps.evaluations.ab_tests.looking_after import collect_all
from apps.evaluations.ab_tests.verifying import verify
from apps.evaluations.models import ABArm, ABPending
from apps.executions.models import Execution
from apps.prompts.models import ABTest
from tests.evaluations.ab_tests.exposing import execution_of

pytestmark = pytest.mark.django_db(transaction=True)


class Threads:
    """Calls at once, of which an error fails the test."""

    def __init__(self):
        self.errors = []
        self.started = []

    def start(self, call):
        def run():
            try:
                call()
            except Exception as error:  # noqa: BLE001 (whatever it is, it is shown)
                self.errors.append(error)
            finally:
                connection.close()

        self.started.append(threading.Thread(target=run))
        self.started[-1].start()

    def join(self):
        for thread in self.started:
            thread.join(60)
        assert self.errors == []


def fill(test, count, width=50):
    rows = [
        execution_of(test, ("control", "candidate-1")[number % 2], f"unit {number % width}") for number in range(count)
    ]
    Execution.objects.bulk_create(rows)


def test_nothing_counts_twice_or_not_at_all(prompt, make_ab_test):
    test = make_ab_test(prompt)
    fill(test, 2 * AT_ONCE + 100)
    threads = Threads()
    for _ in range(3):
        threads.start(collect_all)
    threads.start(lambda: fill(test, 300))
    threads.join()
    collect(test)
    assert ABPending.objects.count() == 0
    assert sum(ABArm.objects.values_list("exposures", flat=True)) == 2 * AT_ONCE + 400
    assert verify(test) == (50, [])


def test_a_stop_waits_for_the_collector_and_freezes_all_that_was_there(prompt, make_ab_test):
    test = make_ab_test(prompt)
    fill(test, AT_ONCE + 500)
    threads = Threads()
    threads.start(collect_all)
    threads.start(lambda: services.stop(test=test, reason="Enough.", by=None))
    threads.start(collect_all)
    threads.join()
    stopped = ABTest.objects.get(id=test.id)
    assert (stopped.status, stopped.final_results["exposures"]) == ("stopped", AT_ONCE + 500)
    fill(test, 10)
    collect_all()
    stopped.refresh_from_db()
    assert stopped.final_results["exposures"] == AT_ONCE + 500
    assert verify(test)[1] == []
