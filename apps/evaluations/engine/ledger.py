"""An evaluation's budget: what was spent, and what the calls that run now may cost at most."""

import threading
from collections.abc import Hashable
from decimal import Decimal

from apps.workflows.evaluating import EvaluationError


class Ledger:
    """Spent + reserved stays within `budget_usd`, None for no limit. Threads that score share it with the driver."""

    def __init__(self, budget_usd: Decimal | None, spent_usd: Decimal) -> None:
        self._lock = threading.Lock()
        self._spent = spent_usd
        self._reserved: dict[Hashable, Decimal] = {}
        self._prepaid: dict[Hashable, Decimal] = {}
        self._refused: set[Hashable] = set()
        self.budget_usd = budget_usd
        # A call whose price is not known was asked for.
        self.is_unpriced = False

    @property
    def is_limited(self) -> bool:
        return self.budget_usd is not None

    def reserve(self, holder: Hashable, amount_usd: Decimal) -> bool:
        """Add to what the holder has reserved; False when there is no room."""
        with self._lock:
            left = None if self.budget_usd is None else self.budget_usd - self._spent - sum(self._reserved.values())
            if left is not None and amount_usd > left:
                return False
            self._reserved[holder] = self._reserved.get(holder, Decimal(0)) + amount_usd
            return True

    def hold(self, holder: Hashable, amount_usd: Decimal) -> None:
        """What was reserved by a driver before this one."""
        with self._lock:
            self._reserved[holder] = amount_usd

    def allow(self, holder: Hashable, amount_usd: Decimal | None) -> None:
        """For evaluators' calls. Raises EvaluationError; then `was_refused` says that it was this budget."""
        if amount_usd is not None and self.reserve(holder, amount_usd):
            return
        with self._lock:
            self._refused.add(holder)
        if amount_usd is None:
            self.is_unpriced = True
            raise EvaluationError("PRICE_UNKNOWN", "The price of the evaluator's model is not known.")
        raise EvaluationError("BUDGET_EXCEEDED", "The evaluation's budget has not enough left for this call.")

    def was_refused(self, holder: Hashable) -> bool:
        """Since the last time that this was asked."""
        with self._lock:
            is_refused = holder in self._refused
            self._refused.discard(holder)
            return is_refused

    def settle(self, holder: Hashable, cost_usd: Decimal) -> Decimal:
        """Release what the holder has reserved: this is what it has cost in all. Gives what of it is new."""
        with self._lock:
            self._reserved.pop(holder, None)
            new = cost_usd - self._prepaid.pop(holder, Decimal(0))
            self._spent += new
            return new

    def prepay(self, holder: Hashable, cost_usd: Decimal) -> Decimal:
        """As `settle`, of one that will come again and find its first calls made."""
        new = self.settle(holder, cost_usd)
        self.note_prepaid(holder, cost_usd)
        return new

    def note_prepaid(self, holder: Hashable, cost_usd: Decimal) -> None:
        """What is in `spent_usd` already for one that comes again."""
        with self._lock:
            self._prepaid[holder] = cost_usd
