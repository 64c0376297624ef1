"""What the server is given: whole answers as a list, which it sends at once; streams piece by piece."""

import importlib
import sys
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from django.db import connections
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path

pytestmark = pytest.mark.django_db

closed: list[str] = []


class Closing:
    def close(self) -> None:
        closed.append("closed")


def whole(_request: HttpRequest) -> HttpResponse:
    response = HttpResponse(b"all of it")
    response._resource_closers.append(Closing().close)  # type: ignore[attr-defined] # not in the stubs
    return response


def stream(_request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(iter([b"piece ", b"by piece"]))


urlpatterns = [path("api/v1/whole", whole), path("api/v1/stream", stream)]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Any:
    monkeypatch.setitem(connections.settings["default"]["OPTIONS"], "options", "")
    monkeypatch.delitem(sys.modules, "everquant.wsgi", raising=False)
    settings.ROOT_URLCONF = __name__
    application = importlib.import_module("everquant.wsgi").application
    closed.clear()

    def ask(target: str) -> tuple[str, Any]:
        statuses: list[str] = []
        environ: dict[str, Any] = {"PATH_INFO": target, "HTTP_HOST": "testserver"}
        setup_testing_defaults(environ)
        body = application(environ, lambda status, _headers: statuses.append(status))
        return statuses[0], body

    return ask


def test_a_whole_answer_is_a_list_and_closed(ask: Any) -> None:
    assert ask("/api/v1/whole") == ("200 OK", [b"all of it"])
    assert closed == ["closed"]
    status, body = ask("/api/v1/nothing")
    assert status == "404 Not Found"
    assert isinstance(body, list)


def test_a_stream_is_read_piece_by_piece(ask: Any) -> None:
    status, body = ask("/api/v1/stream")
    assert status == "200 OK"
    assert not isinstance(body, list)
    assert list(body) == [b"piece ", b"by piece"]
    body.close()
