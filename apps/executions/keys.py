"""UUIDv7 keys and time: the first 48 bits of a key are its milliseconds since 1970."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_RANDOM_BITS = 80
_LAST_MS = 2**48 - 1


def id_bound(moment: datetime) -> UUID:
    """The least key of this time, rounded up to whole milliseconds: keys below it are older."""
    milliseconds = -((_EPOCH - moment) // _MILLISECOND)
    return UUID(int=min(max(milliseconds, 0), _LAST_MS) << _RANDOM_BITS)


def time_of(key: UUID) -> datetime:
    """When a key was made, to the millisecond."""
    return _EPOCH + timedelta(milliseconds=key.int >> _RANDOM_BITS)
