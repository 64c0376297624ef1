"""What an interval is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interval:
    """`method` is wilson_score, clopper_pearson, tango_score, bca_bootstrap or student; none where nothing can be said
    (see UNKNOWN).

    `is_degenerate`: all values were the same, so that nothing was seen of how they vary. Both ends are that value, but
    where the limits of the values are known.
    """

    low: float
    high: float
    method: str
    is_degenerate: bool = False

    @property
    def is_known(self) -> bool:
        return self.method != "none"


UNKNOWN = Interval(float("nan"), float("nan"), "none")


def one_sided(confidence: float) -> float:
    """The confidence of the two-sided interval each of whose ends is a bound of this confidence."""
    return 2 * confidence - 1
