"""Which variant a unit gets: the one that it got first, else the one that its hash falls on.

What was stored is kept by the process and by Redis; it never changes, so that nothing needs to be forgotten.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from hashlib import sha256
from secrets import token_hex
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from apps.prompts.ab_tests.routing import Arm, Choice, LiveTest
from apps.prompts.ab_tests.segments import matches
from everquant.cache import RedisAway, with_redis
from everquant.memory import RecentMemory

# A variant and a phase.
Place = tuple[str, int]
KEPT_S = 24 * 3600
_STORE = """
WITH wanted AS (SELECT * FROM unnest(%(units)s::text[], %(variants)s::text[]) AS w(unit_id, variant)),
new AS (
    INSERT INTO prompts_abassignment (test_id, unit_id, variant, phase, created_at)
    SELECT %(test)s, unit_id, variant, %(phase)s, %(now)s FROM wanted ORDER BY unit_id
    ON CONFLICT DO NOTHING RETURNING unit_id, variant, phase
)
SELECT * FROM new UNION ALL
SELECT old.unit_id, old.variant, old.phase FROM prompts_abassignment old JOIN wanted USING (unit_id)
WHERE old.test_id = %(test)s
"""
_recent: RecentMemory[bytes, Place] = RecentMemory(50_000)


def hash_share(salt: str, unit: str) -> float:
    """A number in [0, 1) that is always the same for these, and uniform over units: the first 53 bits of SHA-256."""
    return (int.from_bytes(sha256(f"{salt}:{unit}".encode()).digest()[:8]) >> 11) / 2**53


def choose(test: LiveTest, *, unit_id: str, metadata: Mapping[str, Any]) -> Choice | None:
    """None says: as without a test. Without a unit id the request is a unit of its own.

    The first assignment of a unit that has an id is stored.
    """
    return choose_each(test, [(unit_id, metadata)])[0]


def choose_each(test: LiveTest, requests: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Choice | None]:
    """As `choose` for each unit id with its metadata, in at most two round trips to Redis and two of the database."""
    if test.is_paused:
        control = Choice(test_id=test.id, phase=test.phase, arm=test.control, is_exposed=False)
        return [control] * len(requests)
    units = [unit_id or token_hex(16) for unit_id, _ in requests]
    is_in = [_takes_part(test, unit, metadata) for unit, (_, metadata) in zip(units, requests, strict=True)]
    named = {unit_id for (unit_id, _), takes_part in zip(requests, is_in, strict=True) if unit_id and takes_part}
    places = _places(test, named)
    return [
        _choice(test, places.get(unit) or (pick(test.arms, hash_share(test.salt, unit)), test.phase))
        if takes_part
        else None
        for unit, takes_part in zip(units, is_in, strict=True)
    ]


def pick(arms: Sequence[Arm], share: float) -> str:
    """The name of the arm on whose part of [0, 1) the share falls."""
    reached = 0.0
    for arm in arms:
        reached += arm.weight
        if share < reached:
            return arm.name
    # what the sum of the weights lacks of 1 by rounding
    return next((arm.name for arm in reversed(arms) if arm.weight > 0), arms[0].name)


def _takes_part(test: LiveTest, unit: str, metadata: Mapping[str, Any]) -> bool:
    is_covered = test.exposed_share >= 1 or hash_share(f"{test.salt}:coverage", unit) < test.exposed_share
    return is_covered and matches(test.segments, metadata)


def _choice(test: LiveTest, place: Place) -> Choice | None:
    variant, phase = place
    arm = test.arm(variant)
    return None if arm is None else Choice(test_id=test.id, phase=phase, arm=arm)


def _places(test: LiveTest, units: Collection[str]) -> dict[str, Place]:
    """The stored places of units; those that have none get theirs now."""
    if not units:
        return {}
    keys = {unit: sha256(f"{test.salt}:{unit}".encode()).digest() for unit in units}
    places = {unit: place for unit, key in keys.items() if (place := _recent.get(key)) is not None}
    if len(places) == len(keys):
        return places
    names = {unit: f"eq:ab:{test.id}:{key.hex()}" for unit, key in keys.items() if unit not in places}
    found = _read(names)
    _remember(keys, found)
    stored = _store(test, [unit for unit in names if unit not in found])
    if stored:
        transaction.on_commit(lambda: _keep(names, keys, stored))
    return {**places, **found, **stored}


def _read(names: Mapping[str, str]) -> dict[str, Place]:
    """Those that Redis has."""
    try:
        kept = with_redis(lambda redis: redis.mget(list(names.values())))
    except RedisAway:
        return {}
    return {unit: _place(value) for unit, value in zip(names, kept, strict=True) if value is not None}


def _place(value: bytes) -> Place:
    phase, _, variant = value.decode().partition(":")
    return variant, int(phase)


def _store(test: LiveTest, units: Sequence[str]) -> dict[str, Place]:
    """The first assignments of units, of which those that have none yet get one."""
    places: dict[str, Place] = {}
    while left := [unit for unit in units if unit not in places]:
        parameters: dict[str, Any] = {
            "units": left, "variants": [pick(test.arms, hash_share(test.salt, unit)) for unit in left],
            "test": test.id, "phase": test.phase, "now": timezone.now(),
        }  # fmt: skip
        with connection.cursor() as cursor:
            # a row that somebody else commits meanwhile is neither inserted nor seen: it is seen the next time
            cursor.execute(_STORE, parameters)
            places |= {unit: (variant, phase) for unit, variant, phase in cursor.fetchall()}
    return places


def _keep(names: Mapping[str, str], keys: Mapping[str, bytes], places: Mapping[str, Place]) -> None:
    """After the commit: what is rolled back must not be believed."""

    def write(redis: Any) -> None:
        pipeline = redis.pipeline(transaction=False)
        for unit, (variant, phase) in places.items():
            pipeline.set(names[unit], f"{phase}:{variant}", ex=KEPT_S)
        pipeline.execute()

    _remember(keys, places)
    _quietly(write)


def _remember(keys: Mapping[str, bytes], places: Mapping[str, Place]) -> None:
    for unit, place in places.items():
        _recent.keep(keys[unit], place)


def _quietly(call: Callable[[Any], None]) -> None:
    try:
        with_redis(call)
    except RedisAway:
        return
