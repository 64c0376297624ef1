"""Images and tools pass through to the provider and back, for both protocols, and a loop of tools can be driven."""

import pytest

from apps.executions.models import Execution
from tests.executions.conftest import EXECUTIONS, PROMPTS
from tests.upstream import Behaviour

pytestmark = pytest.mark.django_db
PIXEL = "data:image/png;base64,iVBORw0KGgo="
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
CALLS = [
    {"id": "call_a", "name": "weather", "arguments": '{"city":"Rome"}'},
    {"id": "call_b", "name": "weather", "arguments": '{"city":"Oslo"}'},
]


def result(call_id, content):
    return {"role": "tool", "tool_call_id": call_id, "content": content}


@pytest.fixture(params=["openai", "anthropic"])
def kind(request, make_model):
    make_model("m", kind=request.param, is_default=True)
    return request.param


def test_images_by_address_and_inline(execute, make_prompt, kind, upstream):
    parts = [
        {"type": "text", "text": "What is {{name}}?"},
        {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]
    answer = execute(make_prompt(content=None, messages=[{"role": "user", "content": parts}], type="chat"))
    said = [{"type": "text", "text": "What is Ada?"}, *parts[1:]]
    assert answer["messages"] == [{"role": "user", "content": said}]
    sent = upstream.requests[-1].body["messages"][0]["content"]
    if kind == "openai":
        assert sent == said
    else:
        source = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
        assert sent[1:] == [
            {"type": "image", "source": source},
            {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        ]


def test_a_loop_of_tools_is_driven_over_the_api(execute, make_prompt, kind, upstream, editor):
    prompt = make_prompt(tools=[WEATHER], parameters={"tool_choice": "required", "parallel_tool_calls": True})
    upstream.script([Behaviour(tool_calls=CALLS)])
    first = execute(prompt)
    assert (first["finish_reason"], first["output"]) == ("tool_calls", "")
    assert [(call["id"], call["function"]["name"]) for call in first["tool_calls"]] == [
        ("call_a", "weather"),
        ("call_b", "weather"),
    ]
    said = {"role": "assistant", "content": None, "tool_calls": first["tool_calls"]}
    results = [result("call_a", "Sunny"), result("call_b", [{"type": "text", "text": "Snow"}])]
    second = execute(prompt, append_messages=[said, *results])
    assert (second["finish_reason"], second["output"][:9]) == ("stop", "You said:")
    assert second["messages"] == [{"role": "user", "content": "Hello, Ada!"}, said, *results]
    assert editor.client.get(f"{EXECUTIONS}/{second['id']}").json()["data"]["messages"] == second["messages"]
    body = upstream.requests[-1].body
    if kind == "openai":
        assert body["messages"] == second["messages"]
        assert (body["tools"], body["tool_choice"], body["parallel_tool_calls"]) == ([WEATHER], "required", True)
    else:
        assert body["tool_choice"] == {"type": "any"}
        assert body["messages"][1:] == [
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": "call_a", "name": "weather", "input": {"city": "Rome"}},
                    {"type": "tool_use", "id": "call_b", "name": "weather", "input": {"city": "Oslo"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "call_a", "content": "Sunny"},
                    {"type": "tool_result", "tool_use_id": "call_b", "content": [{"type": "text", "text": "Snow"}]},
                ],
            },
        ]


def test_a_tools_result_may_hold_an_image(execute, make_prompt, kind, upstream):
    said = {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": _weather_call()}]}
    image = {"type": "image_url", "image_url": {"url": PIXEL}}
    execute(make_prompt(tools=[WEATHER]), append_messages=[said, result("a", [image])])
    sent = upstream.requests[-1].body["messages"][-1]["content"]
    assert sent == [image] if kind == "openai" else sent[0]["content"][0]["type"] == "image"


def _weather_call():
    return {"name": "weather", "arguments": "{}"}


def test_a_prompt_may_hold_calls_and_results(execute, make_prompt, kind, upstream):
    messages = [
        {"role": "user", "content": "Weather for {{name}}?"},
        {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": _weather_call()}]},
        result("a", "Sunny for {{name}}"),
    ]
    answer = execute(make_prompt(content=None, messages=messages, type="chat", tools=[WEATHER]))
    assert answer["messages"][2]["content"] == "Sunny for Ada"
    assert answer["messages"][1]["tool_calls"] == messages[1]["tool_calls"]
    assert answer["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("messages", "named"),
    [
        ("x", "append_messages"),
        ({}, "append_messages"),
        ([1], "append_messages.0"),
        ([{"role": "robot", "content": "x"}], "append_messages.0.role"),
        ([{"role": "user"}], "append_messages.0.content"),
        ([{"role": "user", "content": None}], "append_messages.0.content"),
        ([{"role": "user", "content": "x", "name": "y"}], "append_messages.0.name"),
        ([{"role": "tool", "content": "x"}], "append_messages.0.tool_call_id"),
        ([{"role": "tool", "content": "x", "tool_call_id": ""}], "append_messages.0.tool_call_id"),
        ([{"role": "user", "content": "x", "tool_calls": []}], "append_messages.0.tool_calls"),
        ([{"role": "assistant", "tool_calls": []}], "append_messages.0.tool_calls"),
        ([{"role": "assistant", "tool_calls": [{"id": "a"}]}], "append_messages.0.tool_calls.0.function"),
        ([{"role": "user", "content": "\x00"}], "append_messages.0.content"),
        ([{"role": "user", "content": "x"}] * 201, "append_messages"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}],
            "append_messages.0.content.0.image_url.url",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_with_a_message_is_named(execute, make_prompt, model, messages, named):
    assert list(execute(make_prompt(), status=400, append_messages=messages)["details"]) == [named]
    assert not Execution.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_calls_of_tools_are_streamed_in_pieces(make_prompt, kind, editor, upstream):
    upstream.script([Behaviour(tool_calls=CALLS)])
    body = {"variables": {"name": "Ada"}, "stream": True}
    prompt = make_prompt(tools=[WEATHER])
    events = b"".join(editor.client.post(f"{PROMPTS}/{prompt['id']}/execute", body).streaming_content).decode()
    assert events.count("event: execution.delta") >= 4
    assert '"id":"call_a","name":"weather"' in events
    assert "event: execution.completed" in events
