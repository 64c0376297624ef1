"""What the adapters send and how they read it, against the server that the official SDKs agree with."""

import logging
import threading
import traceback

import pytest

from apps.models.providers.base import ErrorCode, FinishReason, ModelRequest, ProviderError, Timeouts, Usage
from apps.models.providers.registry import ADAPTERS, build_adapter
from tests.upstream import Behaviour
from tests.upstream.server import REFUSED_KEY

HTTP_KINDS = ["openai", "anthropic"]
USAGE = Usage(input_tokens=13, cached_input_tokens=5, cache_write_tokens=2, output_tokens=7, reasoning_tokens=3)
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello there"}]
TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "The weather", "parameters": {"type": "object", "properties": {}}},
}
SCHEMA = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}

CLOSED = SCHEMA | {"additionalProperties": False}


def request_for(model="m", **changes):
    return ModelRequest(**({"model": model, "messages": MESSAGES, "timeouts": Timeouts(2, 5, 10)} | changes))


@pytest.fixture(params=HTTP_KINDS)
def kind(request):
    return request.param


@pytest.fixture
def adapter(kind, upstream):
    return build_adapter(kind, upstream.openai_url, "sk-test", allow_private=True)


def test_every_kind_of_adapter_names_itself():
    assert {kind: adapter.kind for kind, adapter in ADAPTERS.items()} == {kind: kind for kind in ADAPTERS}


def test_complete(adapter):
    completion = adapter.complete(request_for())
    assert completion.text == "You said: Hello there"
    assert completion.finish_reason == FinishReason.STOP
    assert completion.usage == USAGE
    assert completion.tool_calls == []
    assert completion.first_token_ms is None
    assert (completion.model, completion.provider_request_id) == ("m", "req_1")


def test_stream(adapter):
    *pieces, last = adapter.stream(request_for())
    assert [piece.text for piece in pieces] == ["You ", "said: ", "Hello ", "there"]
    assert all(piece.completion is None for piece in pieces)
    assert last.completion.text == "You said: Hello there"
    assert last.completion.usage == USAGE
    assert last.completion.finish_reason == FinishReason.STOP
    assert last.completion.first_token_ms >= 0
    assert (last.completion.model, last.completion.provider_request_id) == ("m", "req_1")


def test_tool_calls_are_the_same_whole_and_streamed(adapter):
    request = request_for(tools=[TOOL])
    *pieces, last = adapter.stream(request)
    expected = [{"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}}]
    for completion in (adapter.complete(request), last.completion):
        calls = [
            call | {"function": call["function"] | {"arguments": call["function"]["arguments"].replace(": ", ":")}}
            for call in completion.tool_calls
        ]
        assert calls == expected
        assert completion.finish_reason == FinishReason.TOOL_CALLS
    fragments = [fragment for piece in pieces for fragment in piece.tool_calls]
    assert (fragments[0].id, fragments[0].name) == ("call_1", "weather")
    assert "".join(fragment.arguments for fragment in fragments) == '{"city": "Paris"}'


def test_a_conversation_with_a_tools_result_is_answered(adapter, upstream):
    call = adapter.complete(request_for(tools=[TOOL])).tool_calls[0]
    conversation = [
        *MESSAGES,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": "Sunny"},
    ]
    assert adapter.complete(request_for(messages=conversation, tools=[TOOL])).finish_reason == FinishReason.STOP


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("length", FinishReason.LENGTH),
        ("content_filter", FinishReason.CONTENT_FILTER),
        ("something_new", FinishReason.OTHER),
    ],
)
def test_finish_reasons(adapter, upstream, said, expected):
    upstream.answer_always(Behaviour(finish_reason=said))
    assert adapter.complete(request_for()).finish_reason == expected
    assert list(adapter.stream(request_for()))[-1].completion.finish_reason == expected


def test_missing_usage_is_unknown_and_not_zero(upstream):
    upstream.answer_always(Behaviour(has_usage=False))
    adapter = build_adapter("openai", upstream.openai_url, "", allow_private=True)
    assert adapter.complete(request_for()).usage is None
    assert list(adapter.stream(request_for()))[-1].completion.usage is None


def test_unicode_and_nul_in_an_answer(adapter, upstream):
    upstream.answer_always(Behaviour(words=["\N{FIRE} a\0b ", "\u2028\r\nc \\u0000"]))
    expected = "\N{FIRE} a\N{REPLACEMENT CHARACTER}b \u2028\r\nc \\u0000"
    assert adapter.complete(request_for()).text == expected
    assert list(adapter.stream(request_for()))[-1].completion.text == expected


def test_what_openai_is_sent(upstream):
    adapter = build_adapter("openai", upstream.openai_url, "sk-test", allow_private=True)
    adapter.complete(
        request_for(
            parameters={"temperature": 0.5, "max_tokens": 9, "n": 3, "stream": True, "model": "other"},
            tools=[TOOL],
            response_schema=SCHEMA,
            idempotency_key="key-1",
        )
    )
    sent = upstream.requests[-1]
    assert sent.path == "/v1/chat/completions"
    assert sent.headers["authorization"] == "Bearer sk-test"
    assert sent.headers["idempotency-key"] == "key-1"
    assert sent.body == {
        "model": "m",
        "messages": MESSAGES,
        "temperature": 0.5,
        "max_tokens": 9,
        "tools": [TOOL],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "response", "schema": SCHEMA, "strict": False},
        },
    }


@pytest.mark.parametrize(
    ("schema", "is_strict"),
    [
        (SCHEMA | {"additionalProperties": False}, True),
        (SCHEMA | {"additionalProperties": False, "required": []}, False),
        ({"type": "object", "additionalProperties": False, "required": ["a"], "properties": {"a": SCHEMA}}, False),
        ({"type": "array", "items": {"type": "string"}}, False),
        (CLOSED | {"properties": {"answer": {"oneOf": [{"type": "string"}]}}}, False),
        (CLOSED | {"properties": {"not": {"type": "string"}}, "required": ["not"]}, True),
    ],
)
def test_openais_strict_mode_is_asked_for_only_where_it_holds(upstream, schema, is_strict):
    build_adapter("openai", upstream.openai_url, "", allow_private=True).complete(request_for(response_schema=schema))
    assert upstream.requests[-1].body["response_format"]["json_schema"]["strict"] is is_strict
    assert "authorization" not in upstream.requests[-1].headers


def test_anthropic_is_told_in_words_what_it_does_not_take_of_a_schema(upstream):
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "required": ["age"],
        "properties": {
            "age": {"type": "integer", "minimum": 1, "description": "In years."},
            "day": {"type": "string", "format": "date"},
            "code": {"type": "string", "format": "hex", "maxLength": 4},
            "tags": {"type": "array", "minItems": 1, "maxItems": 3, "items": {"oneOf": [{"type": "string"}]}},
        },
    }
    build_adapter("anthropic", upstream.url, "", allow_private=True).complete(request_for(response_schema=schema))
    assert upstream.requests[-1].body["output_config"]["format"]["schema"] == {
        "type": "object",
        "required": ["age"],
        "properties": {
            "age": {"type": "integer", "description": 'In years.\n\n{"minimum":1}'},
            "day": {"type": "string", "format": "date"},
            "code": {"type": "string", "description": '{"format":"hex","maxLength":4}'},
            "tags": {
                "type": "array",
                "minItems": 1,
                "items": {"anyOf": [{"type": "string"}]},
                "description": '{"maxItems":3}',
            },
        },
        "additionalProperties": False,
    }


def test_what_anthropic_is_sent(upstream):
    adapter = build_adapter("anthropic", upstream.url, "sk-test", allow_private=True)
    messages = [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            ],
        },
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}},
                {"id": "b", "type": "function", "function": {"name": "weather", "arguments": ""}},
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": "Sunny"},
        {"role": "tool", "tool_call_id": "b", "content": "Rain"},
        {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
        {"role": "user", "content": "And?"},
    ]
    adapter.complete(
        request_for(
            messages=messages,
            parameters={
                "stop": "END",
                "seed": 1,
                "tool_choice": "required",
                "parallel_tool_calls": False,
                "user": "u1",
                "reasoning_effort": "low",
            },
            tools=[TOOL],
            response_schema=SCHEMA,
            max_output_tokens=777,
        )
    )
    sent = upstream.requests[-1]
    assert sent.path == "/v1/messages"
    assert sent.headers["x-api-key"] == "sk-test"
    assert sent.headers["anthropic-version"] == "2026-10-21"
    assert sent.body == {
        "model": "m",
        "max_tokens": 777,
        "system": "Be brief.\n\nBe kind.",
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u1"},
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "output_config": {
            "effort": "low",
            "format": {"type": "json_schema", "schema": SCHEMA | {"additionalProperties": False}},
        },
        "tools": [
            {"name": "weather", "description": "The weather", "input_schema": {"type": "object", "properties": {}}}
        ],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                    {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": "a", "name": "weather", "input": {"city": "Rome"}},
                    {"type": "tool_use", "id": "b", "name": "weather", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "a", "content": "Sunny"},
                    {"type": "tool_result", "tool_use_id": "b", "content": "Rain"},
                ],
            },
            {"role": "user", "content": "And?"},
        ],
    }


@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k"])
def test_sampling_parameters_go_to_the_version_of_anthropics_api_that_takes_them(upstream, name):
    adapter = build_adapter("anthropic", upstream.url, "sk-test", allow_private=True)
    adapter.complete(request_for(parameters={name: 1, "max_tokens": 5}))
    sent = upstream.requests[-1]
    assert (sent.headers["anthropic-version"], sent.body[name], sent.body["max_tokens"]) == ("2023-06-01", 1, 5)


@pytest.mark.parametrize(
    ("messages", "tools"),
    [
        ([{"content": "no role"}], None),
        ([{"role": "tool", "content": "no call"}], None),
        ([{"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{"}}]}], None),
        ([{"role": "user", "content": [{"text": "no type"}]}], None),
        (MESSAGES, [{"type": "function", "function": {}}]),
    ],
)
def test_messages_that_anthropic_cannot_be_told_are_an_invalid_request(upstream, messages, tools):
    adapter = build_adapter("anthropic", upstream.url, "sk-test", allow_private=True)
    with pytest.raises(ProviderError) as caught:
        adapter.complete(request_for(messages=messages, tools=tools))
    assert caught.value.code == ErrorCode.INVALID_REQUEST
    assert upstream.request_count == 0


def test_a_request_that_is_no_json_is_an_invalid_request(adapter, upstream):
    with pytest.raises(ProviderError) as caught:
        adapter.complete(request_for(messages=[{"role": "user", "content": "\ud800"}]))
    assert caught.value.code == ErrorCode.INVALID_REQUEST
    assert upstream.request_count == 0


def test_embeddings(upstream):
    adapter = build_adapter("openai", upstream.openai_url, "", allow_private=True)
    result = adapter.embed("e", ["a", "bb"])
    assert [vector[0] for vector in result.vectors] == [1.0, 2.0]
    assert result.usage == Usage(input_tokens=8)
    with pytest.raises(ProviderError) as caught:
        build_adapter("anthropic", upstream.url, "", allow_private=True).embed("e", ["a"])
    assert caught.value.code == ErrorCode.UNSUPPORTED


def test_echo_answers_with_what_it_was_asked():
    adapter = build_adapter("echo", "", "")
    messages = [*MESSAGES, {"role": "assistant", "content": "Yes?"}]
    completion = adapter.complete(request_for(messages=messages))
    assert completion.text == "Hello there"
    assert completion.usage == Usage(input_tokens=3 + 3 + 1, output_tokens=3)
    assert completion.finish_reason == FinishReason.STOP
    *pieces, last = adapter.stream(request_for(messages=messages))
    assert [piece.text for piece in pieces] == ["Hello ", "there"]
    assert last.completion.text == "Hello there"
    assert last.completion.first_token_ms is not None


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([], ""),
        ([{"role": "system", "content": "only this"}], "only this"),
        ([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}, {"text": "b"}]}], "ab"),
        ([{"role": "user", "content": None}], ""),
        ([{"role": "user", "content": "  \n two  spaces\t"}], "  \n two  spaces\t"),
        ([{"role": "user", "content": "   "}], "   "),
    ],
)
def test_echo_takes_any_messages(messages, text):
    adapter = build_adapter("echo", "", "")
    assert adapter.complete(request_for(messages=messages)).text == text
    pieces = list(adapter.stream(request_for(messages=messages)))
    assert "".join(piece.text for piece in pieces) == pieces[-1].completion.text == text


@pytest.mark.parametrize(
    ("base_url", "name"),
    [
        ("", "max_completion_tokens"),
        ("https://api.openai.com/v1/", "max_completion_tokens"),
        ("https://eu.api.openai.com/v1", "max_completion_tokens"),
        ("https://mine.openai.azure.com/openai/v1", "max_completion_tokens"),
        ("https://api.openai.com.example/v1", "max_tokens"),
        ("http://127.0.0.1:8000/v1", "max_tokens"),
    ],
)
def test_the_limit_of_output_has_the_name_that_the_server_knows(base_url, name):
    adapter = build_adapter("openai", base_url, "sk-test", allow_private=True)
    payload = adapter._payload(request_for(parameters={"max_tokens": 9}))
    assert {key: value for key, value in payload.items() if "max" in key} == {name: 9}


def test_echo_is_cut_at_max_tokens():
    completion = build_adapter("echo", "", "").complete(request_for(parameters={"max_tokens": 1}))
    assert (completion.text, completion.finish_reason) == ("Hell", FinishReason.LENGTH)


def test_echo_embeds_the_same_text_alike():
    vectors = build_adapter("echo", "", "").embed("e", ["abc", "abc", "xyz"]).vectors
    assert vectors[0] == vectors[1] != vectors[2]


@pytest.mark.parametrize("stream", [False, True])
def test_the_key_is_in_no_error_log_or_representation(kind, upstream, caplog, stream):
    caplog.set_level(logging.DEBUG)
    adapter = build_adapter(kind, upstream.openai_url, REFUSED_KEY, allow_private=True)
    for model in ("m", "fault-hang-up"):
        with pytest.raises(ProviderError) as caught:
            list(adapter.stream(request_for(model))) if stream else adapter.complete(request_for(model))
        error = caught.value
        shown = "".join(traceback.format_exception(error)) + repr(error) + str(error) + error.message
        assert REFUSED_KEY not in shown + repr(vars(error)) + repr(adapter) + caplog.text
    assert error.code in {ErrorCode.AUTHENTICATION, ErrorCode.CONNECTION}


def test_a_refused_key_is_masked_in_the_providers_own_words(adapter, kind, upstream):
    adapter = build_adapter(kind, upstream.openai_url, REFUSED_KEY, allow_private=True)
    with pytest.raises(ProviderError) as caught:
        adapter.complete(request_for())
    assert caught.value.code == ErrorCode.AUTHENTICATION
    assert caught.value.message == "Incorrect API key provided: ***."


@pytest.mark.parametrize("key", ["sk\nX-Other: 1", "sk\r", "sk-\N{FIRE}", "sk\0"])
def test_a_key_that_no_header_can_hold_is_refused_without_being_shown(kind, key):
    with pytest.raises(ValueError, match="The key holds characters") as caught:
        build_adapter(kind, "", key)
    assert key not in str(caught.value)


def test_connections_are_kept_and_shared_between_threads(adapter, upstream):
    for _ in range(3):
        adapter.complete(request_for())
        list(adapter.stream(request_for()))
    assert len({request.connection for request in upstream.requests}) == 1
    failures = []

    def call_often():
        try:
            for _ in range(20):
                adapter.complete(request_for())
        except ProviderError as error:
            failures.append(error)

    threads = [threading.Thread(target=call_often) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert upstream.request_count == 6 + 160
    assert len({request.connection for request in upstream.requests}) <= 9
