"""Histograms that merge: percentiles of any union of rows, to a stated relative error, from counts alone.

The buckets of DDSketch (Masson, Rim and Lee, "DDSketch: a fast and fully-mergeable quantile sketch with
relative-error guarantees", VLDB 2019): bucket i holds the values in (g^(i-1), g^i], g = (1+e)/(1-e), and answers with
2g^i/(g+1), which is off by at most the share e. None of its buckets are ever collapsed.
"""

import math
import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, Self

RELATIVE_ERROR = 0.02
GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
LOG_GAMMA = math.log(GAMMA)
# Where the value 1 lies: smaller positive values have buckets below it, and 0 is the bucket of zeros.
BUCKET_OF_ONE = 1024
_VERSION = 1
_WIDTHS = {1: "B", 2: "H", 4: "I", 8: "Q"}
# From so many parts on, numpy adds them up several times as fast as a loop, and is worth its import of a tenth of a
# second once.
_MANY = 16
# Histograms of which `summaries` has all buckets in memory, some megabytes.
_AT_ONCE = 500


def bucket_of(value: float) -> int:
    """0 for zero; raises ValueError for what is negative or not finite."""
    if not 0 <= value < math.inf:
        raise ValueError(f"a histogram counts finite values of 0 or more, not {value}")
    if value == 0:
        return 0
    return max(1, BUCKET_OF_ONE + math.ceil(math.log(value) / LOG_GAMMA))


def value_of(bucket: int) -> float:
    """What stands for the values of a bucket: within RELATIVE_ERROR of each of them."""
    return 0.0 if bucket == 0 else 2 * GAMMA ** (bucket - BUCKET_OF_ONE) / (GAMMA + 1)


class Histogram:
    """Counts of values of 0 or more, of any unit; merging in any order and grouping gives the same histogram."""

    __slots__ = ("_added", "_parts")

    def __init__(self, counts: Mapping[int, int] | Iterable[tuple[int, int]] = ()) -> None:
        """From pairs of bucket and count, as `bucket_of` numbers them.

        Counts below zero take away, by `merge`; a histogram that ends with one has no bytes.
        """
        self._added: dict[int, int] = dict(counts)
        # What `to_bytes` made, added to the counts when they are asked for: many parts at once are quicker than each.
        self._parts: list[bytes] = []

    @property
    def _counts(self) -> dict[int, int]:
        if self._parts:
            parts, self._parts = self._parts, []
            for pairs in _joined_pairs(parts):
                self._add_pairs(pairs)
        return self._added

    def _add_pairs(self, pairs: Iterable[tuple[int, int]]) -> None:
        counts = self._added
        if not counts:
            counts.update(pairs)
            return
        for bucket, count in pairs:
            counts[bucket] = counts.get(bucket, 0) + count

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self.to_bytes() == other.to_bytes()

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"Histogram({sorted(self._counts.items())})"

    @property
    def count(self) -> int:
        return sum(self._counts.values())

    def add(self, value: float, count: int = 1) -> None:
        """Raises ValueError as `bucket_of` does, and for a count below 1."""
        if count < 1:
            raise ValueError("what is added is counted at least once")
        bucket = bucket_of(value)
        self._counts[bucket] = self._counts.get(bucket, 0) + count

    def merge(self, other: Self) -> None:
        """Add the other's counts to this one's."""
        self._add_pairs(other._added.items())
        self._parts += other._parts

    def merge_bytes(self, *parts: bytes) -> None:
        """The same as `merge(from_bytes(part))` of each, without the objects between."""
        for part in parts:
            _check(part)
        self._parts += parts

    def quantile(self, q: float) -> float | None:
        """The smallest value that at least the share `q` (0…1) of the values do not exceed, as percentile_disc.

        Within RELATIVE_ERROR of it; None without values.
        """
        return self.quantiles([q])[0]

    def quantiles(self, shares: Sequence[float]) -> list[float | None]:
        """What `quantile` gives for each of these, which are in ascending order, in one pass."""
        if shares and not 0 <= min(shares) <= max(shares) <= 1:
            raise ValueError("a quantile is a share between 0 and 1")
        counts = self._counts
        if not counts:
            return [None] * len(shares)
        buckets = sorted(counts)
        seen = list(accumulate(map(counts.__getitem__, buckets)))
        ranks = (max(1, math.ceil(share * seen[-1])) for share in shares)
        return [value_of(buckets[bisect_left(seen, rank)]) for rank in ranks]

    def bars(self, width: int) -> list[tuple[float, float, int]]:
        """Counts of the values in (low, high], `width` buckets to a bar, without gaps; a bar from 0 to 0 has zeros."""
        if not self._counts:
            return []
        counts: dict[int, int] = {}
        for bucket, count in self._counts.items():
            bar = bucket // width if bucket else -1
            counts[bar] = counts.get(bar, 0) + count
        found = [(0.0, 0.0, counts.pop(-1))] if -1 in counts else []
        for bar in range(min(counts), max(counts) + 1) if counts else ():
            low, high = (GAMMA ** (edge * width - 1 - BUCKET_OF_ONE) for edge in (bar, bar + 1))
            found.append((low, high, counts.get(bar, 0)))
        return found

    def share_below(self, value: float) -> float | None:
        """The share of the values that are at most this one, as far as buckets tell; None without values.

        The whole bucket of the value counts, so that values up to GAMMA (4.1 %) above it may.
        """
        total, last = self.count, bucket_of(value)
        if not total:
            return None
        return sum(count for bucket, count in self._counts.items() if bucket <= last) / total

    def to_bytes(self) -> bytes:
        """Version, width of a count in bytes, buckets in order (2 bytes each), their counts; little-endian.

        Raises ValueError for a count below zero.
        """
        buckets = sorted(bucket for bucket, count in self._counts.items() if count)
        counts = [self._counts[bucket] for bucket in buckets]
        if min(counts, default=1) < 1:
            raise ValueError("a bucket of this histogram has less than nothing")
        width = next(width for width in _WIDTHS if max(counts, default=0) < 256**width)
        size = len(buckets)
        return struct.pack(f"<BB{size}H{size}{_WIDTHS[width]}", _VERSION, width, *buckets, *counts)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Raises ValueError for what `to_bytes` did not make."""
        found = cls()
        found.merge_bytes(data)
        return found


def summaries(histograms: Sequence[Histogram], shares: Sequence[float]) -> list[tuple[int, list[float | None]]]:
    """The count and the `quantiles` of each: what has not been added up yet is, for many at once."""
    found: list[tuple[int, list[float | None]]] = []
    for start in range(0, len(histograms), _AT_ONCE):
        some = histograms[start : start + _AT_ONCE]
        waiting = [each for each in some if each._parts and not each._added]
        if not shares or sum(len(each._parts) for each in waiting) < _MANY:
            waiting = []
        known = dict(zip(map(id, waiting), _summaries(waiting, shares), strict=True))
        found += [known.get(id(each)) or (each.count, each.quantiles(shares)) for each in some]
    return found


def _summaries(waiting: Sequence[Histogram], shares: Sequence[float]) -> list[tuple[int, list[float | None]]]:
    if not waiting:
        return []
    import numpy as np  # noqa: PLC0415 (as at _MANY)

    arrays = [_arrays(width, waiting) for width in {part[1] for each in waiting for part in each._parts}]
    owners, buckets, counts = (np.concatenate(found) for found in zip(*arrays, strict=True))
    if not len(buckets):
        return [(0, [None] * len(shares)) for _ in waiting]
    first = int(buckets.min())
    size = int(buckets.max()) - first + 1
    sums = np.bincount(owners * size + (buckets - first), counts, len(waiting) * size).reshape(-1, size)
    seen = sums.cumsum(axis=1)
    ranks = np.maximum(1, np.ceil(np.outer(seen[:, -1], shares)))
    places = [(seen < ranks[:, place : place + 1]).sum(axis=1) + first for place in range(len(shares))]
    return [
        (total, [value_of(bucket) if total else None for bucket in row])
        for total, row in zip(seen[:, -1].astype(np.int64).tolist(), np.transpose(places).tolist(), strict=True)
    ]


def _arrays(width: int, waiting: Sequence[Histogram]) -> tuple[Any, Any, Any]:
    """Of all parts of this width: which of the histograms each bucket is of, the bucket, and its count."""
    import numpy as np  # noqa: PLC0415 (as at _MANY)

    parts = [(place, part) for place, each in enumerate(waiting) for part in each._parts if part[1] == width]
    buckets, counts = _joined([part for _, part in parts])
    sizes = [_middle(part) // 2 - 1 for _, part in parts]
    owners = np.repeat([place for place, _ in parts], sizes)
    return owners, np.frombuffer(buckets, "<u2").astype(np.int64), np.frombuffer(counts, f"<u{width}").astype(float)


def _joined(parts: Sequence[bytes]) -> tuple[bytes, bytes]:
    """The buckets of all parts, and their counts."""
    middles = [_middle(part) for part in parts]
    pairs = list(zip(parts, middles, strict=True))
    return b"".join([part[2:middle] for part, middle in pairs]), b"".join([part[middle:] for part, middle in pairs])


def _check(data: bytes) -> None:
    if len(data) < 2 or data[0] != _VERSION or data[1] not in _WIDTHS:
        raise ValueError("these bytes are no histogram of a known version")
    if (len(data) - 2) % (2 + data[1]):
        raise ValueError("these bytes of a histogram are cut off")


def _joined_pairs(parts: Sequence[bytes]) -> Iterable[Iterable[tuple[int, int]]]:
    """Buckets and counts that come to those of all the parts together."""
    if len(parts) < _MANY:
        return (_pairs(part) for part in sorted(parts, key=len, reverse=True))
    return (_summed(width, [part for part in parts if part[1] == width]) for width in {part[1] for part in parts})


def _pairs(data: bytes) -> Iterable[tuple[int, int]]:
    middle = _middle(data)
    return zip(_numbers("H", data[2:middle]), _numbers(_WIDTHS[data[1]], data[middle:]), strict=True)


def _summed(width: int, parts: Sequence[bytes]) -> Iterable[tuple[int, int]]:
    """Of parts of the same width; sums are exact below 2^53."""
    import numpy as np  # noqa: PLC0415 (as at _MANY)

    buckets, counts = _joined(parts)
    sums = np.bincount(np.frombuffer(buckets, "<u2"), np.frombuffer(counts, f"<u{width}"))
    (found,) = sums.nonzero()
    return zip(found.tolist(), sums[found].astype(np.int64).tolist(), strict=True)


def _middle(data: bytes) -> int:
    """Where the counts begin."""
    return 2 + 2 * ((len(data) - 2) // (2 + data[1]))


def _numbers(kind: str, data: bytes) -> "array[int]":
    """Little-endian ones; an array is several times as fast as a format of `struct` for each size."""
    numbers = array(kind)
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
