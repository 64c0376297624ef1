"""Objects that many requests need, kept in the process: compiled prompts, models with their adapters."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar
from uuid import UUID

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
SIZE = 2048
TTL_S = 60.0


class EpochMemory(Generic[Value]):
    """A value is good while the organization's epoch is the one that was read before it was loaded.

    `read_epoch(organization_id)` is one round trip to Redis, and None while Redis is away: then nothing is believed.
    """

    def __init__(self, read_epoch: Callable[[UUID], bytes | None]) -> None:
        self._read_epoch = read_epoch
        self._entries: OrderedDict[Hashable, tuple[bytes, float, Value]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, organization_id: UUID, key: Hashable, load: Callable[[], Value]) -> Value:
        epoch = self._read_epoch(organization_id)
        whole_key = (organization_id, key)
        entry = self._entries.get(whole_key)
        if entry is not None and entry[0] == epoch and time.monotonic() < entry[1]:
            return entry[2]
        value = load()
        if epoch is not None:
            self._keep(whole_key, (epoch, time.monotonic() + TTL_S, value))
        return value

    def _keep(self, key: Hashable, entry: tuple[bytes, float, Value]) -> None:
        with self._lock:
            self._entries.pop(key, None)
            self._entries[key] = entry
            while len(self._entries) > SIZE:
                self._entries.popitem(last=False)


class RecentMemory(Generic[Key, Value]):
    """Values that never change, of the keys that were used last."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key) -> Value | None:
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key]

    def keep(self, key: Key, value: Value) -> None:
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            if len(self._values) > self._size:
                self._values.popitem(last=False)
