"""Several tests at once."""

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted so that the chance of any false finding is at most the level (Holm 1979)."""
    from statsmodels.stats.multitest import multipletests  # type: ignore[import-untyped]  # noqa: PLC0415 (two seconds to import)

    if not p_values:
        return []
    return [float(p) for p in multipletests(list(p_values), method="holm")[1]]
