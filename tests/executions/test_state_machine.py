"""An execution in the background against a plain model of its states, in any order of what may happen to it."""

import pytest
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from apps.executions.models import TERMINAL, Batch, Execution, ExecutionPayload, Status
from apps.executions.orchestrator import queueing
from apps.executions.services import cancel_execution
from apps.executions.sweeping import fail_interrupted
from apps.organizations.models import Organization
from everquant.api.errors import Conflict
from everquant.db import uuid7

pytestmark = pytest.mark.django_db


class States(RuleBasedStateMachine):
    """`status` is what the execution must have; `ends` how often it has come to an end."""

    organization: Organization

    @initialize()
    def store(self) -> None:
        self.outer = transaction.atomic()
        self.outer.__enter__()
        self.batch = Batch.objects.create(
            organization=self.organization, prompt_id=uuid7(), version_number=1, model_id=uuid7(), row_count=1
        )
        self.execution = Execution.objects.create(
            organization_id=self.organization.id,
            batch_id=self.batch.id,
            batch_row=0,
            is_background=True,
            created_at=timezone.now(),
        )
        ExecutionPayload.objects.create(execution=self.execution, messages=[])
        self.status, self.is_cancel_wished, self.ends = Status.QUEUED, False, 0

    def _end(self, status: Status) -> None:
        self.status = status
        self.ends += 1

    @rule()
    def take(self) -> None:
        turns = queueing.Turns()
        turns.announce(self.organization.id)
        taken = turns.take()
        assert (taken is not None) == (self.status == Status.QUEUED)
        if taken is not None:
            self.status = Status.RUNNING

    @rule()
    def cancel(self) -> None:
        try:
            cancel_execution(execution=self.execution)
        except Conflict:
            assert self.status in TERMINAL
            return
        if self.status == Status.QUEUED:
            self._end(Status.CANCELLED)
        else:
            assert self.status == Status.RUNNING
            self.is_cancel_wished = True

    @rule()
    def fail(self) -> None:
        if self.execution.fail(code="CONNECTION", message="") != (self.status not in TERMINAL):
            raise AssertionError("an end was written twice, or not at all")
        if self.status not in TERMINAL:
            self._end(Status.FAILED)

    @rule()
    def be_cancelled_by_its_process(self) -> None:
        if self.status == Status.RUNNING:
            assert self.execution.cancel()
            self._end(Status.CANCELLED)

    @rule()
    def be_handed_back(self) -> None:
        may_be = self.status == Status.RUNNING and not self.is_cancel_wished
        assert self.execution.hand_back(attempt_count=1) is may_be
        if may_be:
            self.status = Status.QUEUED

    @rule()
    def sweep_while_it_lives(self) -> None:
        assert fail_interrupted() == 0

    @rule()
    def lose_its_process(self) -> None:
        now = timezone.now()
        Execution.objects.filter(id=self.execution.id, status=Status.RUNNING).update(lease_expires_at=now)
        assert fail_interrupted() == (self.status == Status.RUNNING)
        if self.status == Status.RUNNING:
            self._end(Status.CANCELLED if self.is_cancel_wished else Status.FAILED)

    @invariant()
    def it_is_as_it_must_be(self) -> None:
        if not hasattr(self, "execution"):
            return
        row = Execution.objects.get(id=self.execution.id)
        assert row.status == self.status
        assert (row.finished_at is not None) == (self.status in TERMINAL)
        assert self.ends == (self.status in TERMINAL)
        counts = Batch.objects.with_counts().get(id=self.batch.id).counts
        assert counts == {name: int(name == self.status) for name in counts}

    def teardown(self) -> None:
        if hasattr(self, "outer"):
            transaction.set_rollback(True)
            self.outer.__exit__(None, None, None)


def test_forward_but_for_one_step_and_one_end(organization):
    assert connection.in_atomic_block
    machine = type("OfThisOrganization", (States,), {"organization": organization})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=15, stateful_step_count=8, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
