"""The official SDKs talk to the test provider, so that the adapters are tested against the real protocols."""

import pytest

MESSAGES = [{"role": "user", "content": "Hello there"}]
TOOL = {"name": "weather", "description": "The weather", "parameters": {"type": "object", "properties": {}}}


@pytest.fixture
def openai_client(upstream):
    import openai  # over a second, of which no other test has anything

    with openai.OpenAI(api_key="k", base_url=upstream.openai_url, max_retries=0) as client:
        yield client


@pytest.fixture
def anthropic_client(upstream):
    import anthropic

    with anthropic.Anthropic(api_key="k", base_url=upstream.url, max_retries=0) as client:
        yield client


def test_openai_complete(openai_client):
    completion = openai_client.chat.completions.create(model="m", messages=MESSAGES)
    assert completion.choices[0].message.content == "You said: Hello there"
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage.prompt_tokens == 20
    assert completion.usage.prompt_tokens_details.cached_tokens == 5
    assert completion.usage.completion_tokens_details.reasoning_tokens == 3
    completion.to_json()
    type(completion).model_validate(completion.to_dict(), strict=True)


def test_openai_stream(openai_client):
    with openai_client.chat.completions.stream(
        model="m", messages=MESSAGES, stream_options={"include_usage": True}
    ) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert "content.delta" in kinds
    assert final.choices[0].message.content == "You said: Hello there"
    assert final.usage.total_tokens == 30


def test_openai_tools(openai_client):
    tools = [{"type": "function", "function": TOOL}]
    whole = openai_client.chat.completions.create(model="m", messages=MESSAGES, tools=tools)
    with openai_client.chat.completions.stream(model="m", messages=MESSAGES, tools=tools) as stream:
        streamed = stream.get_final_completion()
    for completion in (whole, streamed):
        call = completion.choices[0].message.tool_calls[0]
        assert (call.function.name, call.function.arguments) == ("weather", '{"city": "Paris"}')
        assert completion.choices[0].finish_reason == "tool_calls"


def test_openai_embeddings_and_models(openai_client):
    answer = openai_client.embeddings.create(model="e", input=["a", "bb"])
    assert [item.embedding[0] for item in answer.data] == [1.0, 2.0]
    assert [model.id for model in openai_client.models.list()] == ["m"]


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("fault-400", "BadRequestError"),
        ("fault-401", "AuthenticationError"),
        ("fault-429-retry-after-1", "RateLimitError"),
        ("fault-500", "InternalServerError"),
        ("fault-hang-up", "APIConnectionError"),
    ],
)
def test_openai_errors(openai_client, model, error):
    import openai

    with pytest.raises(getattr(openai, error)):
        openai_client.chat.completions.create(model=model, messages=MESSAGES)


def test_anthropic_complete(anthropic_client):
    message = anthropic_client.messages.create(model="m", max_tokens=10, messages=MESSAGES)
    assert message.content[0].text == "You said: Hello there"
    assert message.stop_reason == "end_turn"
    assert message.usage.input_tokens == 13
    assert message.usage.cache_read_input_tokens == 5
    assert message.usage.output_tokens_details.thinking_tokens == 3
    type(message).model_validate(message.to_dict(), strict=True)


def test_anthropic_stream(anthropic_client):
    with anthropic_client.messages.stream(model="m", max_tokens=10, messages=MESSAGES) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == final.content[0].text == "You said: Hello there"
    assert final.usage.output_tokens == 10
    assert final.usage.input_tokens == 13


def test_anthropic_tools(anthropic_client):
    tools = [{"name": "weather", "description": "The weather", "input_schema": {"type": "object", "properties": {}}}]
    whole = anthropic_client.messages.create(model="m", max_tokens=10, messages=MESSAGES, tools=tools)
    with anthropic_client.messages.stream(model="m", max_tokens=10, messages=MESSAGES, tools=tools) as stream:
        streamed = stream.get_final_message()
    for message in (whole, streamed):
        assert message.content[0].name == "weather"
        assert message.content[0].input == {"city": "Paris"}
        assert message.stop_reason == "tool_use"


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("fault-400", "BadRequestError"),
        ("fault-401", "AuthenticationError"),
        ("fault-429-retry-after-1", "RateLimitError"),
        ("fault-529", "InternalServerError"),
        ("fault-hang-up", "APIConnectionError"),
    ],
)
def test_anthropic_errors(anthropic_client, model, error):
    import anthropic

    with pytest.raises(getattr(anthropic, error)):
        anthropic_client.messages.create(model=model, max_tokens=10, messages=MESSAGES)


CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        ],
    },
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "Sunny"}]},
]
PARAMETERS = {"tool_choice": "required", "parallel_tool_calls": False, "max_tokens": 9}


def sent_by_adapter(upstream, kind):
    from apps.models.providers.base import ModelRequest
    from apps.models.providers.registry import build_adapter

    request = ModelRequest(
        "m",
        CONVERSATION,
        parameters=PARAMETERS,
        tools=[{"type": "function", "function": TOOL}],
        response_schema={"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
    )
    build_adapter(kind, upstream.openai_url, "k", allow_private=True).complete(request)
    return upstream.requests[-1].body


def test_what_the_adapter_sends_is_what_the_sdk_would_send_to_openai(openai_client, upstream):
    ours = sent_by_adapter(upstream, "openai")
    openai_client.chat.completions.create(**ours)
    assert upstream.requests[-1].body == ours


def test_what_the_adapter_sends_is_what_the_sdk_would_send_to_anthropic(anthropic_client, upstream):
    from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
    from pydantic import TypeAdapter

    ours = sent_by_adapter(upstream, "anthropic")
    TypeAdapter(MessageCreateParamsNonStreaming).validate_python(ours)
    anthropic_client.messages.create(**ours)
    assert upstream.requests[-1].body == ours
