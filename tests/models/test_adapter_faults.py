"""Each fault of a provider ends as one error with the right code, in time, and leaves no dirty connection behind."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from apps.models.providers.base import ErrorCode, FinishReason, ModelRequest, ProviderError, Timeouts
from apps.models.providers.registry import build_adapter
from tests.upstream import Behaviour

MESSAGES = [{"role": "user", "content": "one two three four"}]
# What a busy machine may add; without a deadline each of these faults lasts longer than any limit and this.
LATENESS_S = 3.0


def request_for(model="m", timeouts=None):
    return ModelRequest(model, MESSAGES, timeouts=timeouts or Timeouts(2, 5, 10))


@pytest.fixture(params=["openai", "anthropic"])
def adapter(request, upstream):
    return build_adapter(request.param, upstream.openai_url, "sk-test", allow_private=True)


def failure_of(adapter, request, *, stream):
    """The error, and the seconds that it took."""
    started_at = time.monotonic()
    with pytest.raises(ProviderError) as caught:
        list(adapter.stream(request)) if stream else adapter.complete(request)
    return caught.value, time.monotonic() - started_at


both_ways = pytest.mark.parametrize("stream", [False, True])


@both_ways
@pytest.mark.parametrize(
    ("model", "code", "status", "is_retryable"),
    [
        ("fault-400", ErrorCode.INVALID_REQUEST, 400, False),
        ("fault-401", ErrorCode.AUTHENTICATION, 401, False),
        ("fault-403", ErrorCode.AUTHENTICATION, 403, False),
        ("fault-404", ErrorCode.NOT_FOUND, 404, False),
        ("fault-408", ErrorCode.TIMEOUT_TOTAL, 408, True),
        ("fault-409", ErrorCode.CONFLICT, 409, True),
        ("fault-413", ErrorCode.INVALID_REQUEST, 413, False),
        ("fault-422", ErrorCode.INVALID_REQUEST, 422, False),
        ("fault-429", ErrorCode.RATE_LIMITED, 429, True),
        ("fault-500", ErrorCode.HTTP_5XX, 500, True),
        ("fault-503", ErrorCode.HTTP_5XX, 503, True),
        ("fault-529", ErrorCode.HTTP_5XX, 529, True),
        ("fault-redirect", ErrorCode.INVALID_RESPONSE, 302, False),
        ("fault-hang-up", ErrorCode.CONNECTION, None, True),
        ("fault-invalid-json", ErrorCode.INVALID_RESPONSE, None, False),
    ],
)
def test_errors_before_a_token(adapter, upstream, stream, model, code, status, is_retryable):
    error, _ = failure_of(adapter, request_for(model), stream=stream)
    assert (error.code, error.status, error.retryable, error.started) == (code, status, is_retryable, False)
    assert error.partial is None
    assert upstream.request_count == 1


@both_ways
def test_an_errors_message_is_the_providers(adapter, upstream, stream):
    upstream.answer_always(Behaviour(status=400, message="no such parameter" + "!" * 1000))
    error, _ = failure_of(adapter, request_for(), stream=stream)
    assert error.message.startswith("no such parameter!")
    assert len(error.message) == 500


def test_an_answer_of_another_shape_is_invalid(adapter):
    error, _ = failure_of(adapter, request_for("fault-wrong-shape"), stream=False)
    assert (error.code, error.retryable) == (ErrorCode.INVALID_RESPONSE, False)


@pytest.mark.parametrize(
    ("retry_after", "expected"), [("7", 7.0), ("1.5", 1.5), ("0", 0.0), ("soon", None), ("-3", None), ("", None)]
)
def test_retry_after(adapter, upstream, retry_after, expected):
    upstream.answer_always(Behaviour(status=429, retry_after=retry_after))
    assert failure_of(adapter, request_for(), stream=False)[0].retry_after_s == expected


@pytest.mark.parametrize(("seconds", "low", "high"), [(30, 25, 30), (-30, 0, 0)])
def test_retry_after_as_a_date(adapter, upstream, seconds, low, high):
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
    upstream.answer_always(Behaviour(status=503, retry_after=moment))
    assert low <= failure_of(adapter, request_for(), stream=False)[0].retry_after_s <= high


def test_after_a_failure_the_next_call_succeeds(adapter, upstream):
    model = "fault-500-then-200"
    assert failure_of(adapter, request_for(model), stream=False)[0].status == 500
    assert adapter.complete(request_for(model)).text == "You said: one two three four"


@both_ways
def test_a_stall_before_the_first_token(adapter, upstream, stream):
    timeouts = Timeouts(connect_s=2, first_token_s=0.3, total_s=0.6)
    error, seconds = failure_of(adapter, request_for("fault-stall-before", timeouts), stream=stream)
    expected = (ErrorCode.TIMEOUT_FIRST_TOKEN, 0.3) if stream else (ErrorCode.TIMEOUT_TOTAL, 0.6)
    assert (error.code, error.retryable, error.started) == (expected[0], True, False)
    assert expected[1] <= seconds < expected[1] + LATENESS_S


def test_a_stall_after_the_first_token(adapter, upstream):
    timeouts = Timeouts(connect_s=2, first_token_s=5, total_s=0.8)
    error, seconds = failure_of(adapter, request_for("fault-stall-after", timeouts), stream=True)
    assert (error.code, error.retryable, error.started) == (ErrorCode.TIMEOUT_TOTAL, False, True)
    assert 0.8 <= seconds < 0.8 + LATENESS_S
    assert error.partial.text.startswith("You ")
    assert error.partial.first_token_ms < 800


@both_ways
@pytest.mark.parametrize("model", ["fault-slow-headers", "fault-drip"])
def test_dripping_bytes_gain_no_time(adapter, upstream, stream, model):
    timeouts = Timeouts(connect_s=2, first_token_s=0.3, total_s=0.4)
    error, seconds = failure_of(adapter, request_for(model, timeouts), stream=stream)
    assert error.code == (ErrorCode.TIMEOUT_FIRST_TOKEN if stream else ErrorCode.TIMEOUT_TOTAL)
    assert seconds < 0.4 + LATENESS_S
    upstream.wait_until_last_is_closed()


def test_the_first_tokens_limit_ends_with_the_first_token(adapter, upstream):
    upstream.answer_always(Behaviour(interval_s=0.05, words=["word "] * 20))
    timeouts = Timeouts(connect_s=2, first_token_s=0.8, total_s=30)
    started_at = time.monotonic()
    *_, last = adapter.stream(request_for(timeouts=timeouts))
    assert last.completion.text == "word " * 20
    assert last.completion.first_token_ms < 800 < (time.monotonic() - started_at) * 1000


def test_a_stream_cut_in_its_middle_keeps_what_came(adapter, upstream):
    error, _ = failure_of(adapter, request_for("fault-cut"), stream=True)
    assert (error.code, error.retryable, error.started) == (ErrorCode.CONNECTION, False, True)
    assert error.partial.text.startswith("You ")
    assert error.partial.finish_reason == FinishReason.OTHER


def test_an_answer_cut_in_its_middle_can_be_asked_for_again(adapter, upstream):
    error, _ = failure_of(adapter, request_for("fault-cut"), stream=False)
    assert (error.code, error.retryable, error.started) == (ErrorCode.CONNECTION, True, False)


@both_ways
@pytest.mark.parametrize("model", ["fault-oversized", "fault-oversized-words"])
def test_an_oversized_answer_is_not_read_to_its_end(adapter, upstream, stream, model):
    error, _ = failure_of(adapter, request_for(model), stream=stream)
    assert (error.code, error.retryable) == (ErrorCode.TOO_LARGE, False)
    upstream.wait_until_last_is_closed()


def test_an_error_within_a_stream(adapter, upstream):
    error, _ = failure_of(adapter, request_for("fault-overloaded"), stream=True)
    assert (error.code, error.retryable, error.started) == (ErrorCode.HTTP_5XX, False, True)
    assert error.partial.text == "You said: one two three four"
    assert error.message == "Overloaded"


def test_an_error_as_a_streams_first_event_may_be_retried(upstream):
    upstream.answer_always(Behaviour(raw_body=b'{"error": {"message": "busy", "type": "server_error"}}'))
    openai = build_adapter("openai", upstream.openai_url, "", allow_private=True)
    error, _ = failure_of(openai, request_for(), stream=True)
    assert (error.code, error.retryable, error.message) == (ErrorCode.HTTP_5XX, True, "busy")
    upstream.answer_always(
        Behaviour(raw_body=b'{"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}')
    )
    anthropic = build_adapter("anthropic", upstream.url, "", allow_private=True)
    error, _ = failure_of(anthropic, request_for(), stream=True)
    assert (error.code, error.status, error.retryable, error.message) == (ErrorCode.HTTP_5XX, 529, True, "busy")


@both_ways
@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"null",
        b'{"choices": [{}]}',
        b'{"choices": [{"message": 5, "delta": 5}]}',
        b'{"choices": {"0": 1}}',
        b'{"choices": [{"message": {"tool_calls": [1]}, "delta": {"tool_calls": [1]}}]}',
        b'{"type": "content_block_delta", "content": 5}',
        b'{"type": "content_block_delta", "index": 0, "delta": [], "content": [{"type": "text"}]}',
        b"\xff\xfe",
        b'{"choices": [{"message": {"content": "\\ud800"}}]}',
        b"[" * 100_000,
    ],
)
def test_nonsense_is_an_error_of_the_provider_and_no_crash(adapter, upstream, stream, body):
    upstream.answer_always(Behaviour(raw_body=body))
    error, _ = failure_of(adapter, request_for(), stream=stream)
    assert error.code in {ErrorCode.INVALID_RESPONSE, ErrorCode.CONNECTION}


def test_leaving_a_stream_closes_its_connection(adapter, upstream):
    upstream.answer_always(Behaviour(interval_s=0.05))
    stream = adapter.stream(request_for())
    assert next(stream).text == "You "
    assert upstream.requests[-1].connection in upstream.open_connections
    stream.close()
    upstream.wait_until_last_is_closed()
    upstream.reset()
    assert adapter.complete(request_for()).text == "You said: one two three four"


def test_nobody_listens(adapter, unused_port):
    for kind in ("openai", "anthropic"):
        nowhere = build_adapter(kind, f"http://127.0.0.1:{unused_port}", "", allow_private=True)
        error, _ = failure_of(nowhere, request_for(), stream=False)
        assert (error.code, error.retryable) == (ErrorCode.CONNECTION, True)


def test_a_connection_that_is_never_accepted(full_listener):
    nowhere = build_adapter("openai", f"http://127.0.0.1:{full_listener}", "", allow_private=True)
    error, seconds = failure_of(nowhere, request_for(timeouts=Timeouts(0.3, 5, 10)), stream=False)
    assert (error.code, error.retryable) == (ErrorCode.TIMEOUT_CONNECT, True)
    assert seconds < 0.4 + LATENESS_S


def test_a_handshake_that_never_ends(silent_listener):
    nowhere = build_adapter("openai", f"https://127.0.0.1:{silent_listener}", "", allow_private=True)
    error, seconds = failure_of(nowhere, request_for(timeouts=Timeouts(0.3, 5, 10)), stream=False)
    assert (error.code, error.retryable) == (ErrorCode.TIMEOUT_CONNECT, True)
    assert seconds < 0.4 + LATENESS_S


def test_a_header_that_cannot_be_sent_is_an_invalid_request(adapter, upstream):
    request = ModelRequest("m", MESSAGES, idempotency_key="a\r\nX-Other: b")
    error, _ = failure_of(adapter, request, stream=False)
    assert (error.code, error.retryable) == (ErrorCode.INVALID_REQUEST, False)
    assert upstream.request_count == 0
    assert adapter.complete(request_for()).text == "You said: one two three four"
