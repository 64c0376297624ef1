"""Answers that are read often, kept as ready bytes under the organization's epoch."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse

from everquant.api.conditional import etag_of, etag_of_bytes, matches
from everquant.api.envelope import dumps, envelope
from everquant.cache import EpochCache

TTL_S = 60
LARGEST_BYTES = 4 * 1024 * 1024
LONGEST_TARGET = 512
_ETAG_LENGTH = 34


class Answer:
    """Bytes ready to send and their ETag."""

    __slots__ = ("body", "etag")

    def __init__(self, body: bytes, etag: str) -> None:
        self.body = body
        self.etag = etag

    def is_known(self, known: str | None) -> bool:
        """Whether `known` (a request's If-None-Match) names this answer."""
        return bool(known) and matches(known or "", self.etag)

    def response(self, known: str | None) -> HttpResponse:
        """The answer, or 304 when `known` (the request's If-None-Match) names it."""
        headers = {"ETag": self.etag, "Cache-Control": "private, no-cache"}
        if self.is_known(known):
            return HttpResponse(status=304, content_type="application/json", headers=headers)
        return HttpResponse(self.body, content_type="application/json", headers=headers)


class AnswerCache:
    """What reads of one kind of resource answered, by organization and request target.

    Whatever a view checks of a target, it has checked before it stored the answer; who asks is checked at every read.
    """

    def __init__(self, prefix: str) -> None:
        self._cache = EpochCache(prefix, ttl_s=TTL_S)

    @staticmethod
    def target(request: HttpRequest) -> str | None:
        """Path and query, under which its answer is kept; None for one that is too long to be asked often."""
        target = f"{request.path_info}?{request.META.get('QUERY_STRING', '')}"
        return target if len(target) <= LONGEST_TARGET else None

    def names(self, organization_id: UUID, target: str) -> tuple[str, str]:
        """What `peek`, `remember` and `epoch` read, for `everquant.cache.prefetch`."""
        return self._cache.names(str(organization_id), target)

    def epoch(self, organization_id: UUID) -> bytes | None:
        """Changes with everything of the organization that is kept here; None while Redis is away."""
        return self._cache.read(str(organization_id), "")[1]

    def peek(self, organization_id: UUID, target: str) -> Answer | None:
        """The kept answer, if it was prefetched; without taking it."""
        entry = self._cache.peek(str(organization_id), target)
        return _answer(entry) if entry is not None else None

    def read(self, organization_id: UUID, target: str) -> tuple[Answer | None, bytes | None]:
        """The kept answer, and the epoch to give to `store`: take it before reading the database."""
        entry, epoch = self._cache.read(str(organization_id), target)
        return (_answer(entry) if entry is not None else None), epoch

    def store(
        self, organization_id: UUID, target: str, data: Any, epoch: bytes | None, *, etag: str | None = None
    ) -> Answer:
        """The answer made of `data`, kept under the epoch that was read before the data."""
        body = dumps(envelope(data))
        answer = Answer(body, etag or etag_of_bytes(body))
        if len(body) <= LARGEST_BYTES:
            self._cache.store(str(organization_id), target, answer.etag.encode() + body, epoch)
        return answer

    def remember(
        self, organization_id: UUID, target: str | None, load: Callable[[], Any], *, tags_data: bool = False
    ) -> Answer:
        """The answer to this target, made of what `load` reads when it is not kept; without a target it never is.

        Its ETag is of the whole body, or with `tags_data` of the data alone, as writes answer and `If-Match` compares.
        """
        answer, epoch = self.read(organization_id, target) if target else (None, None)
        if answer is None:
            data = load()
            answer = self.store(organization_id, target or "", data, epoch, etag=etag_of(data) if tags_data else None)
        return answer

    def forget(self, organization_id: UUID) -> None:
        """After the commit, nothing kept of this organization is answered any more."""
        self._cache.invalidate(str(organization_id))


def _answer(entry: bytes) -> Answer:
    return Answer(entry[_ETAG_LENGTH:], entry[:_ETAG_LENGTH].decode())
