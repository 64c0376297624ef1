"""One driver's work at one evaluation: turn by turn from what is stored, so that whoever comes after it goes on.

A turn takes the answers and scores that have come, asks for the next ones, and stores all of it in one transaction.
What a turn has not stored is seen again by the next one: calls are rows of the executions' queue, stored together with
the state of their cases, and what evaluators ask is asked once for its key.
"""

import time
from concurrent.futures import Executor

from django.conf import settings
from django.db import transaction

from apps.evaluations.engine import cases, changes, ending, queue
from apps.evaluations.engine.answers import CANCELLED
from apps.evaluations.engine.asking import Asking
from apps.evaluations.engine.changes import Answer, Changes, News
from apps.evaluations.engine.ledger import Ledger
from apps.evaluations.engine.scoring import Scoring
from apps.evaluations.engine.slow import unrecorded_usd
from apps.evaluations.engine.subjects import PRICE_UNKNOWN
from apps.evaluations.models import CaseStatus, Evaluation, EvaluationStatus
from apps.executions.orchestrator.cases import Asker, call_runners

BUDGET_EXCEEDED = "BUDGET_EXCEEDED"
LOOK_S = 0.5
_NO_PRICE = "With a budget, every model needs a price and every workflow a limit on its cost (max_cost_usd)."
_NO_ROOM = "The budget has not enough left for what is still to be done."


class Drive:
    """`is_done` when there is nothing more to do for this driver."""

    def __init__(self, evaluation: Evaluation, executor: Executor) -> None:
        self.evaluation = evaluation
        self.is_done = False
        self._is_closing = self._is_open = self._has_cancelled = False
        self._is_cancelled = evaluation.cancel_requested_at is not None
        self._asker = Asker(evaluation.organization_id, evaluation.created_by_id, evaluation.api_key_id)
        self._ledger = Ledger(evaluation.budget_usd, evaluation.cost_usd + evaluation.evaluator_cost_usd)
        self._asking = Asking(evaluation, self._ledger)
        self._scoring = Scoring(evaluation, self._ledger, executor, self.keep)
        self._slow = self._scoring.slow
        self._renewed_at = self._looked_at = time.monotonic()

    def turn(self) -> bool:
        """Whether anything has changed. Raises LeaseLost, and what says that the database is away."""
        self.keep()
        if self._is_closing and not self._slow.running:
            queue.hand_back(self.evaluation)
            self.is_done = True
            return True
        if not self._is_open:
            self._open()
            if not self._is_open:
                return True
        if self._is_cancelled and not self._has_cancelled:
            self._cancel()
        made = self._made()
        if made.has_any:
            self._store(made)
        else:
            self._call_runners()
            self._end_if_done()
        return made.has_any

    def close(self) -> None:
        """Begin nothing any more: the rest is another driver's, once what evaluators ask here has come."""
        self._is_closing = True

    def interrupt(self) -> None:
        """Stop what evaluators ask, too: the process ends, or this is no longer ours."""
        self.close()
        self._slow.cancellation.request(is_interruption=True)

    def keep(self) -> None:
        """Renew the lease and heed what others wish, now and then. Raises LeaseLost."""
        now = time.monotonic()
        if now >= self._renewed_at + settings.LEASE_RENEW_S:
            self._renewed_at = self._looked_at = now
            self._heed(changes.renew(self.evaluation))
        elif now >= self._looked_at + LOOK_S:
            self._looked_at = now
            self._heed(changes.look(self.evaluation))

    def _heed(self, news: News) -> None:
        self._is_cancelled = self._is_cancelled or news.is_cancelled
        self._ledger.budget_usd = news.budget_usd

    def _open(self) -> None:
        """A step of what comes before the first turn."""
        evaluation = self.evaluation
        if evaluation.reopening and not self._is_cancelled:
            if cases.reopen(evaluation):
                evaluation.reopening = ""
        elif not evaluation.has_cases and not self._is_cancelled:
            cases.make(evaluation, self._asking.subject_count)
        else:
            evaluation.refresh_from_db(fields=["succeeded_count", "failed_count"])
            if evaluation.fence > 1:
                # Counted twice once they are found again: too much is held back then, never too little.
                self._ledger.hold("unrecorded", unrecorded_usd(evaluation))
            self._asking.open()
            self._is_open = True

    def _made(self) -> Changes:
        made = Changes()
        self._scoring.add_answers(made, [self._heeding_cancel(answer) for answer in self._asking.take()])
        self._scoring.take(made)
        if not (self._is_closing or self._is_cancelled or self._is_unpriced):
            self._scoring.begin(made)
            # Scores first: cases with an answer are not to pile up, nor to find the budget spent.
            if not self._scoring.is_piled_up and not self._slow.refused:
                self._scoring.add_answers(made, self._asking.ask(made))
        return made

    @property
    def _is_unpriced(self) -> bool:
        return self._asking.is_unpriced or self._ledger.is_unpriced

    def _heeding_cancel(self, answer: Answer) -> Answer:
        if self._is_cancelled and answer.error_code == CANCELLED:
            answer.status, answer.error_code, answer.error_message = CaseStatus.CANCELLED, "", ""
        return answer

    def _store(self, made: Changes) -> None:
        queued = self._asking.queued + len(made.calls)
        self._heed(changes.write(self.evaluation, made, self._asker, queued))
        self._asking.note_started(made.started)
        self._scoring.note_stored()

    def _call_runners(self) -> None:
        """For calls that runners may have just missed."""
        if self._asking.queued:
            with transaction.atomic():
                call_runners(self._asker.organization_id, self._asking.queued)

    def _cancel(self) -> None:
        self._slow.cancellation.request()
        with transaction.atomic():
            self._asking.cancel()
        self._has_cancelled = True

    def _end_if_done(self) -> None:
        """Nothing has changed in this turn."""
        if self._asking.running or self._slow.running or self._is_closing:
            return
        if self._is_cancelled:
            if cases.cancel_pending(self.evaluation):
                self._finish(EvaluationStatus.CANCELLED)
        elif self._is_unpriced:
            self._finish(EvaluationStatus.FAILED, PRICE_UNKNOWN, _NO_PRICE)
        elif self._asking.lacks_room or self._slow.refused:
            self._finish(EvaluationStatus.FAILED, BUDGET_EXCEEDED, _NO_ROOM)
        elif not (self._asking.has_pending or self._scoring.has_answered):
            self._finish_or_look_again()

    def _finish_or_look_again(self) -> None:
        has_pending, has_open = cases.left(self.evaluation)
        if has_pending:
            self._asking.look_again()
        if has_open:
            self._scoring.has_answered = True
        if not (has_pending or has_open):
            self._finish(EvaluationStatus.SUCCEEDED)

    def _finish(self, status: EvaluationStatus, code: str = "", message: str = "") -> None:
        if not ending.finish(self.evaluation, status, code=code, message=message):
            raise changes.LeaseLost
        self.is_done = True
