"""Executions as columns of random numbers that look like those of real traffic.

Hours of a day and days of a week differ, a few prompts have most of the calls, new versions replace old ones, latencies
and lengths are lognormal, and now and then a model has a bad hour. The same seed gives the same executions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from apps.analytics.seeding.cast import MODELS, VERSIONS, Cast
from apps.executions.keys import id_bound

CHUNK = 50_000
_HOUR_MS = 3_600_000
_SHARE_CACHED, _SHARE_CANCELLED, _SHARE_FAILED, _SHARE_FAILED_IN_BAD_HOURS = 0.04, 0.005, 0.015, 0.25
_SHARE_OF_BAD_HOURS, _SHARE_OF_OTHER_MODELS, _SHARE_STREAMED = 0.01, 0.05, 0.6
SUCCEEDED, FAILED, CANCELLED, CACHED = range(4)
Array = Any


@dataclass(frozen=True, slots=True)
class Drawn:
    """Some executions in the order of their times. Indexes are into the cast; tokens and latencies of those without
    an answer are those that it would have had."""

    ms: Array
    keys: Array
    prompt: Array
    version: Array
    model: Array
    caller: Array
    outcome: Array
    input_tokens: Array
    cached_input_tokens: Array
    output_tokens: Array
    latency_ms: Array
    first_token_ms: Array
    is_streamed: Array


class Traffic:
    """`count` executions between two instants."""

    def __init__(self, cast: Cast, count: int, start: datetime, end: datetime, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._start_ms, self._end_ms = (id_bound(moment).int >> 80 for moment in (start, end))
        self._prompts = 1 / np.arange(1, len(cast.prompts) + 1)
        self._callers = 1 / np.arange(1, len(cast.users) + 1) ** 0.7
        hours = -(-(self._end_ms - self._start_ms) // _HOUR_MS)
        self._hours = self._rng.multinomial(count, _shares([_weight(start + timedelta(hours=h)) for h in range(hours)]))
        self._is_bad = self._rng.random((hours, len(MODELS))) < _SHARE_OF_BAD_HOURS
        self._lengths = (
            self._rng.lognormal(6.2, 0.7, len(cast.prompts)),
            self._rng.lognormal(4.6, 0.6, len(cast.prompts)),
        )

    def chunks(self) -> Iterator[Drawn]:
        """Whole hours together, as many as are about CHUNK."""
        first, waiting = 0, 0
        for hour, count in enumerate(self._hours):
            waiting += count
            if waiting >= CHUNK or hour == len(self._hours) - 1:
                yield from self._of_hours(first, hour + 1)
                first, waiting = hour + 1, 0

    def _of_hours(self, first: int, end: int) -> Iterator[Drawn]:
        hours = np.repeat(np.arange(first, end), self._hours[first:end])
        ms = self._start_ms + hours * _HOUR_MS + self._rng.integers(0, _HOUR_MS, len(hours))
        ms = np.sort(np.minimum(ms, self._end_ms - 1))
        for place in range(0, len(ms), CHUNK):
            yield self._draw(ms[place : place + CHUNK])

    def _draw(self, ms: Array) -> Drawn:
        rng, size = self._rng, len(ms)
        prompt = rng.choice(len(self._prompts), size, p=_shares(self._prompts))
        model = (prompt + 1) % len(MODELS)
        model = np.where(rng.random(size) < _SHARE_OF_OTHER_MODELS, rng.integers(0, len(MODELS), size), model)
        progress = (ms - self._start_ms) / (self._end_ms - self._start_ms)
        whole_input = np.maximum(1, self._lengths[0][prompt] * rng.lognormal(0, 0.4, size)).astype(np.int64)
        cached_input = np.where(rng.random(size) < 0.3, whole_input // 2, 0)
        output = np.maximum(1, self._lengths[1][prompt] * rng.lognormal(0, 0.5, size)).astype(np.int64)
        medians = np.array([seed.latency_ms for seed in MODELS])[model]
        latency = medians * (0.5 + output / 200) * rng.lognormal(0, 0.35, size)
        return Drawn(
            ms=ms,
            keys=rng.integers(0, 256, (size, 10), dtype=np.uint8),
            prompt=prompt,
            version=np.minimum((progress * VERSIONS + rng.normal(0, 0.05, size)).clip(0), VERSIONS - 1).astype(
                np.int64
            ),
            model=model,
            caller=rng.choice(len(self._callers), size, p=_shares(self._callers)),
            outcome=self._outcomes(ms, model),
            input_tokens=whole_input - cached_input,
            cached_input_tokens=cached_input,
            output_tokens=output,
            latency_ms=latency.clip(1, 600_000).astype(np.int64),
            first_token_ms=(latency * rng.beta(2, 8, size)).clip(1, 600_000).astype(np.int64),
            is_streamed=rng.random(size) < _SHARE_STREAMED,
        )

    def _outcomes(self, ms: Array, model: Array) -> Array:
        is_bad = self._is_bad[(ms - self._start_ms) // _HOUR_MS, model]
        failed = np.where(is_bad, _SHARE_FAILED_IN_BAD_HOURS, _SHARE_FAILED)
        chance = self._rng.random(len(ms))
        cases = [chance < failed, chance < failed + _SHARE_CANCELLED, chance > 1 - _SHARE_CACHED]
        return np.select(cases, [FAILED, CANCELLED, CACHED], SUCCEEDED)


def _weight(hour: datetime) -> float:
    """Of one hour (UTC): busiest in the early afternoon of working days."""
    of_day = 1 + 0.85 * float(np.sin((hour.hour - 8) / 24 * 2 * np.pi))
    return of_day * (0.4 if hour.weekday() >= 5 else 1.0)


def _shares(weights: Any) -> Array:
    found = np.asarray(weights, dtype=float)
    return found / found.sum()
