"""Objects that many requests need, kept in the process: compiled prompts, models with their adapters."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar
from uuid import UUID

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
