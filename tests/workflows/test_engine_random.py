"""Random workflows, run by LangGraph and by the small reference; and cut off anywhere, they come to the same."""

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.workflows.engine import checkpoints, queue
from apps.workflows.engine.running import work_at
from apps.workflows.models import StepStatus, Workflow, WorkflowRun, WorkflowStep, WorkflowVersion
from everquant.db import uuid7
from tests.workflows.conftest import forget_checkpoints
from tests.workflows.graphs import runs
from tests.workflows.reference import differences, interpret

pytestmark = [
    pytest.mark.django_db(transaction=True),
    # Threads of the pools draw from `random` for their pauses while Hypothesis draws its examples.
    pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies"),
]

some = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True)
def _close_pool():
    yield
    checkpoints.close_pool()


def begun(organization, definition, inputs):
    slug = f"flow-{uuid7()}"
    workflow = Workflow.objects.create(organization=organization, slug=slug, name=slug)
    version = WorkflowVersion.objects.create(
        organization=organization, workflow=workflow, version_number=1, definition=definition
    )
    return queue.start_run(workflow=workflow, version=version, inputs=inputs)


def worked_at(run):
    work_at(queue.take())
    run.refresh_from_db()
    return run


def states_of(run):
    """By path, of nodes that have ended."""
    found = {}
    for step in WorkflowStep.objects.filter(run=run).order_by("path", "attempt"):
        if step.status == StepStatus.SKIPPED:
            found[step.path] = {"status": "skipped", "handle": None, "output": None}
        elif step.status == StepStatus.SUCCEEDED or (step.status == StepStatus.FAILED and step.handle == "ok"):
            found[step.path] = {"status": "ok", "handle": step.handle, "output": step.output}
        elif step.status == StepStatus.FAILED:
            found[step.path] = {"status": "error", "handle": step.handle, "output": step.output}
    return found


def assert_as_expected(run, expected):
    assert run.status == expected.status, run.error_message
    assert differences(expected, states_of(run)) == []
    if expected.status == "succeeded":
        assert run.outputs == expected.outputs


@some
@given(runs())
def test_a_run_comes_to_what_the_reference_comes_to(organization, given_run):
    definition, inputs = given_run
    run = worked_at(begun(organization, definition, inputs))
    assert_as_expected(run, interpret(definition, inputs))
    numbers = list(run.events.values_list("number", flat=True))
    assert numbers == list(range(1, run.last_event + 1))


@some
@given(runs(), st.floats(0, 1))
def test_a_run_that_is_cut_off_anywhere_comes_to_the_same_and_does_nothing_twice(organization, given_run, share):
    """What a killed worker leaves: some steps are recorded, of some there is only the beginning, the rest never was."""
    definition, inputs = given_run
    expected = interpret(definition, inputs)
    run = worked_at(begun(organization, definition, inputs))
    steps = list(WorkflowStep.objects.filter(run=run).order_by("finished_at", "-id"))
    kept = steps[: round(len(steps) * share)]
    lost = WorkflowStep.objects.filter(id__in=[step.id for step in steps if step not in kept])
    lost.filter(kind__in=["map", "loop"]).update(status=StepStatus.RUNNING, handle="", finished_at=None)
    lost.exclude(kind__in=["map", "loop"]).delete()
    forget_checkpoints(run)
    WorkflowRun.objects.filter(id=run.id).update(
        status="running", finished_at=None, outputs=None, error_code="", error_message="", error_path="",
        lease_expires_at=timezone.now(),
    )  # fmt: skip
    before = {step.path: step.finished_at for step in kept if step.status != StepStatus.RUNNING and step.handle}
    assert_as_expected(worked_at(run), expected)
    after = dict(WorkflowStep.objects.filter(run=run, path__in=before).values_list("path", "finished_at"))
    assert after == before
