"""Where a function is 0. All of scipy.optimize takes a second to import, and a comparison needs no more than this."""

from collections.abc import Callable


def root_between(low: float, high: float, function: Callable[[float], float], within: float = 0.0) -> float:
    """By bisection, to the last digit or `within` that far of it; `function` has different signs at the ends, or is 0
    at one of them.
    """
    at_low = function(low)
    if at_low == 0:
        return low
    while True:
        middle = (low + high) / 2
        if not low < middle < high or high - low <= within:
            return middle
        if (function(middle) > 0) == (at_low > 0):
            low = middle
        else:
            high = middle
