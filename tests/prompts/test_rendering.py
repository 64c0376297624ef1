import json

import pytest

from apps.prompts.rendering import (
    PromptError,
    RenderError,
    SchemaError,
    TemplateError,
    VariablesError,
    compile_prompt,
    extract_variables,
)
from apps.prompts.rendering.schema import DIALECT, check_schema, value_problems


def render(source, values=None, **options):
    return compile_prompt(content=source, **options).render(values or {})


def refusal(action, kind=PromptError):
    with pytest.raises(kind) as caught:
        action()
    assert caught.value.details
    return caught.value.details


@pytest.mark.parametrize(
    ("source", "values", "text"),
    [
        ("Hello, {{name}}!", {"name": "Ann"}, "Hello, Ann!"),
        ("{{  name\n}}", {"name": "Ann"}, "Ann"),
        ("{{user.name}} {{user.pets.0}}", {"user": {"name": "Ann", "pets": ["cat"]}}, "Ann cat"),
        ("{{größe}}", {"größe": 3}, "3"),
        (
            "{{a}} {{b}} {{c}} {{d}}",
            {"a": True, "b": None, "c": 1.5, "d": {"z": [1], "é": 2}},
            'true null 1.5 {"z":[1],"é":2}',
        ),
        ('{"a": {"b": 1}} { } }}', {}, '{"a": {"b": 1}} { } }}'),
        ('{"a": {{{x}}}}', {"x": 1}, '{"a": {1}}'),
        (r"\{{x}}", {}, "{{x}}"),
        (r"\\{{x}}", {"x": 1}, "\\1"),
        (r"\\\{{x}}", {}, "\\{{x}}"),
        (r"a\b \n", {}, r"a\b \n"),
        ("", {}, ""),
    ],
)
def test_simple_templates(source, values, text):
    assert render(source, values) == text


@pytest.mark.parametrize(
    ("source", "where"),
    [
        ("{{", "Line 1, column 1"),
        ("a\nbc {{ }}", "Line 2, column 4"),
        ("{{ a b }}", "Line 1, column 1"),
        ("{{ a.}}", "Line 1, column 1"),
        ("{{ 1a }}", "Line 1, column 1"),
        ("{{ a }", "Line 1, column 1"),
        ("{{x}} {{ 'x' }}", "Line 1, column 7"),
    ],
)
def test_simple_templates_that_do_not_parse_tell_the_place(source, where):
    details = refusal(lambda: compile_prompt(content=source), TemplateError)
    assert details["content"].startswith(where)


@pytest.mark.parametrize(
    ("source", "kind", "names"),
    [
        ("{{b}} {{a.x}} {{b}} {{a.y}}", "simple", ("b", "a")),
        ("{{ b }}{% for x in a.items %}{{ x }}{{ loop.index }}{% endfor %}{{ range(3) }}", "jinja2", ("b", "a")),
        ("{% set x = y %}{{ x }}{% macro m(z) %}{{ z }}{% endmacro %}{{ m(w) }}", "jinja2", ("y", "w")),
        ("no variables", "jinja2", ()),
    ],
)
def test_variables_are_found_in_order(source, kind, names):
    assert extract_variables(source, kind) == names


def test_missing_and_unknown_variables_are_each_named():
    prompt = compile_prompt(content="{{user.name}} {{city}} {{job}}")
    details = refusal(lambda: prompt.render({"user": {}, "city": "x", "other": 1}), VariablesError)
    assert set(details) == {"variables.user.name", "variables.job", "variables.other"}


def test_jinja_names_missing_and_unknown_variables_but_not_those_it_asks_about():
    prompt = compile_prompt(
        content="{{ a }}{{ b|default('B') }}{% if c is defined %}{{ c }}{% endif %}", format="jinja2"
    )
    assert [(variable.name, variable.required) for variable in prompt.variables] == [
        ("a", True),
        ("b", False),
        ("c", False),
    ]
    assert prompt.render({"a": 1}) == "1B"
    assert set(refusal(lambda: prompt.render({"z": 1}), VariablesError)) == {"variables.a", "variables.z"}


@pytest.mark.parametrize(
    ("source", "values", "text"),
    [
        (
            "{% for k, v in user.items() %}{{ loop.index }}.{{ k }}={{ v }};{% endfor %}",
            {"user": {"a": 1, "b": [1, 2]}},
            "1.a=1;2.b=[1,2];",
        ),
        ("{{ user.items }}", {"user": {"items": 3}}, "3"),
        ("{{ names|map('upper')|join(', ') }}", {"names": ["a", "b"]}, "A, B"),
        ("{{ rows|join(' ', attribute='x') }} {{ rows|sum('x') }}", {"rows": [{"x": 1}, {"x": 2}]}, "1 2 3"),
        ("{{ data|tojson }} {{ data|tojson(2) }}", {"data": {"a": "<é>"}}, '{"a": "<é>"} {\n  "a": "<é>"\n}'),
        ("{{ 'a' ~ 1 ~ true ~ none }}", {}, "a1truenull"),
        (
            "{{ 2 ** 10 }} {{ 7 // 2 }} {{ 7 % 4 }} {{ 'ab' * 2 }} {{ [1] + [2] }} {{ -3|abs }}",
            {},
            "1024 3 3 abab [1,2] 3",
        ),
        ("{% macro m(x, y='d') %}<{{ x }}{{ y }}>{% endmacro %}{{ m(1) }}{{ m(1, y=2) }}", {}, "<1d><12>"),
        ("{% filter upper %}ab{% endfilter %}{% set x %}c{{ 1 }}{% endset %}{{ x }}", {}, "ABc1"),
        ("{% for x in 'ab' if x != 'a' %}{{ loop.last }}{{ x }}{% else %}none{% endfor %}", {}, "trueb"),
        (
            "{{ 'one two'.split(' ')[1:] }} {{ 'x'|center(3) }}| {{ 'a\nb'|indent(2) }} {{ 'hello'|truncate(4) }}",
            {},
            '["two"]  x | a\n  b h...',
        ),
        (
            "{{ users|selectattr('on')|map(attribute='n')|list }}",
            {"users": [{"on": True, "n": 1}, {"on": False, "n": 2}]},
            "[1]",
        ),
        ("line\n", {}, "line\n"),
        ("{{ text }}", {"text": "{{ 7 * 7 }}{% if %}"}, "{{ 7 * 7 }}{% if %}"),
        ("{{ range(3)|list }}{{ range(1, 4)|last }}", {}, "[0,1,2]3"),
    ],
)
def test_jinja_templates(source, values, text):
    assert render(source, values, format="jinja2") == text


HOSTILE = [
    "{% for i in range(10**9) %}{% endfor %}",
    "{% for i in range(0 - 10**30, 10**30) %}{% endfor %}",
    "{% for a in range(9000) %}{% for b in range(9000) %}{% endfor %}{% endfor %}",
    "{% for a in 'x' * 9000 %}{% for b in 'x' * 9000 %}{{ a }}{% endfor %}{% endfor %}",
    "{{ 'a' * 10**9 }}",
    "{{ 10**9 * 'a' }}",
    "{{ [0] * 10**9 }}",
    "{{ 10**(10**10) }}",
    "{{ (10**1000) * (10**1000) * (10**1000) }}",
    "{{ (2**4000) ** 2 }}",
    "{{ (-8) ** 0.5 }}",
    "{{ 'a'|center(10**9) }}",
    "{{ 'a'.center(10**9) }}",
    "{{ 'a'.zfill(10**9) }}",
    "{{ 'a'.encode() }}",
    "{{ 'a'|indent(10**9) }}",
    "{{ '%0999999999d'|format(1) }}",
    "{{ '%0999999999d' % 1 }}",
    "{{ '{:>999999999}'.format(1) }}",
    "{{ '{a}'.format_map({'a': 1}) }}",
    "{{ 'a'|replace('', 'b' * 1999999) }}",
    "{{ 'a'.replace('', 'b' * 1999999) }}",
    "{% set x = 'a' * 1000000 %}{{ [x, x, x]|join }}",
    "{% set x = 'a' * 1000000 %}{{ ('b' * 1000)|join(x) }}",
    "{% set x = 'a' * 1000000 %}{{ x ~ x ~ x }}",
    "{% set x = 'a' %}" + "{% set x = x ~ x %}" * 60 + "{{ x|length }}",
    "{% set x = [1] %}" + "{% set x = [x, x] %}" * 60 + "{{ x|length }}",
    "{% set x = [1] %}" + "{% set x = {'a': x, 'b': x} %}" * 60 + "{{ x == 1 }}",
    "{% macro f(n) %}{{ f(n - 1) }}{{ f(n - 1) }}{% endmacro %}{{ f(9) }}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(15) }}{{ f(15) }}",
    "{% for i in range(9999) %}{% set x = 'a' * 1999999 %}{% endfor %}",
    "{% for i in range(9999) %}" + "x" * 1000 + "{% endfor %}",
    "{% set x %}{% for i in range(9999) %}" + "x" * 1000 + "{% endfor %}{% endset %}",
    "{{ 1|round(10**9, 'ceil') }}",
    "{{ 1|round(-(10**9)) }}",
    "{{ ''.__class__ }}",
    "{{ ''['__class__'] }}",
    "{{ ''|attr('__class__') }}",
    "{{ [''.__class__.__mro__] }}",
    "{{ ['']|map(attribute='__class__')|list }}",
    "{{ [{}]|map(attribute='pop')|list }}",
    "{{ {}.update({'a': 1}) }}",
    "{{ [].append(1) }}",
    "{{ {}.items.__self__ }}",
    "{{ range.__globals__ }}",
    "{{ range }}",
    "{% macro m() %}{% endmacro %}{{ m }}",
    "{% macro m() %}{% endmacro %}{{ m.__init__ }}",
    "{% for i in [1] %}{{ loop }}{% endfor %}",
    "{% for i in [1] %}{{ loop._iterable }}{% endfor %}",
    "{{ self }}",
    "{{ self._TemplateReference__context }}",
    "{{ lipsum() }}",
    "{{ cycler(1) }}",
    "{{ joiner() }}",
    "{{ namespace() }}",
    "{{ dict(a=1) }}",
    "{% set ns.x = 1 %}",
    "{% include 'x' %}",
    "{% import 'x' as y %}",
    "{% from 'x' import y %}",
    "{% extends 'x' %}",
    "{% block a %}{% endblock %}",
    "{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}{% endcall %}",
    "{% for i in [] recursive %}{% endfor %}",
    "{% autoescape true %}{% endautoescape %}",
    "{{ '<'|safe }}",
    "{{ 'x'|urlize }}",
    "{{ [1]|random }}",
    "{{ 1 / 0 }}",
    "{{ 1 is divisibleby 0 }}",
    "{{ [1, 'a']|sort }}",
    "{{ [[1]]|sum(start=[]) }}",
    "{{ 'a' + 1 }}",
    "{{ m(*[1]) }}",
    "{{ [1]['x'].y }}",
    "{{ {}.x }}",
    "{{ " + "9" * 5000 + " }}",
    "{{ " + "(" * 9000 + "1" + ")" * 9000 + " }}",
    "{{ " + "1 + " * 9000 + "1 }}",
    "{{ " + "not " * 9000 + "1 }}",
    "{{ " + "[" * 200 + "]" * 200 + " }}",
    "{% if 1 %}" * 200 + "{% endif %}" * 200,
    "{% for x in [1] %}" * 25 + "{% endfor %}" * 25,
    "{{" * 90_000,
    "{#" * 90_000,
    "{% raw %}" * 20_000,
    "{% if",
    "{{ 'a",
    "x" * 200_001,
]


@pytest.mark.parametrize("source", HOSTILE, ids=lambda source: source[:60])
@pytest.mark.timeout(10)
def test_hostile_jinja_templates_are_refused_soon(source):
    details = refusal(lambda: render(source, format="jinja2"))
    assert all(len(reason) < 500 and " object at 0x" not in reason for reason in details.values())


def test_a_simple_template_cannot_multiply_a_value_beyond_the_limit():
    prompt = compile_prompt(content="{{a}}" * 1000)
    assert refusal(lambda: prompt.render({"a": "x" * 10_000}), RenderError) == {
        "content": "The rendered text is longer than 1000000 characters."
    }


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"a": "\x00"}, "variables.a"),
        ({"a": {"b": ["\ud800"]}}, "variables.a.b.0"),
        ({"a": {"\x00": 1}}, "variables.a"),
        ({"a": float("nan")}, "variables.a"),
        ({"a": 10**5000}, "variables.a"),
        ({"a": {1, 2}}, "variables.a"),
        ({"a": "x" * 2_000_001}, "variables"),
        ([], "variables"),
    ],
)
def test_values_that_are_not_storable_json_are_refused(values, path):
    assert set(refusal(lambda: compile_prompt(content="{{a}}").render(values), VariablesError)) == {path}


def test_deeply_nested_values_are_refused():
    value = 1
    for _ in range(500):
        value = [value]
    details = refusal(lambda: compile_prompt(content="{{a}}").render({"a": value}), VariablesError)
    assert len(details) == 1


CHAT = [
    {"role": "system", "content": "You speak {{language}}."},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "{{question}}"},
            {"type": "image_url", "image_url": {"url": "https://example.com/{{x}}.png"}},
        ],
    },
]


def test_chat_prompts_render_texts_and_parts_and_leave_the_rest():
    prompt = compile_prompt(messages=CHAT)
    assert [variable.name for variable in prompt.variables] == ["language", "question"]
    rendered = prompt.render({"language": "French", "question": "Why?"})
    assert rendered[0] == {"role": "system", "content": "You speak French."}
    assert rendered[1]["content"] == [{"type": "text", "text": "Why?"}, CHAT[1]["content"][1]]
    assert CHAT[0]["content"] == "You speak {{language}}."


def test_a_text_prompt_becomes_a_message_of_the_user():
    assert compile_prompt(content="Hi {{a}}").render_messages({"a": 1}) == [{"role": "user", "content": "Hi 1"}]


@pytest.mark.parametrize(
    ("messages", "path"),
    [
        ([], "messages"),
        ("x", "messages"),
        ([1], "messages.0"),
        ([{"role": "user"}], "messages.0.content"),
        ([{"role": "robot", "content": ""}], "messages.0.role"),
        ([{"role": ["user"], "content": ""}], "messages.0.role"),
        ([{"role": "user", "content": "", "x": 1}], "messages.0.x"),
        ([{"role": "user", "content": 1}], "messages.0.content"),
        ([{"role": "user", "content": []}], "messages.0.content"),
        ([{"role": "user", "content": [1]}], "messages.0.content.0.type"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages.0.content.0.text"),
        ([{"role": "user", "content": [{"type": "text", "text": 1}]}], "messages.0.content.0.text"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}], "messages.0.content.0.image_url"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}],
            "messages.0.content.0.image_url.url",
        ),
        ([{"role": "user", "content": "ok"}, {"role": "user", "content": "{{"}], "messages.1.content"),
        ([{"role": "user", "content": [{"type": "text", "text": "{{"}]}], "messages.0.content.0.text"),
        ([{"role": "user", "content": "\x00"}], "messages.0.content"),
        ([{"role": "user", "content": "x"}] * 201, "messages"),
        ([{"role": "user", "content": [{"type": "text", "text": "x"}] * 51}], "messages.0.content"),
    ],
)
def test_wrong_messages_are_refused_by_path(messages, path):
    assert set(refusal(lambda: compile_prompt(messages=messages), TemplateError)) == {path}


def test_the_kind_and_the_format_are_checked():
    assert set(refusal(lambda: compile_prompt(content="a", format="mako"), TemplateError)) == {"format"}
    assert set(refusal(lambda: compile_prompt(content="a", messages=CHAT), TemplateError)) == {"messages"}
    assert set(refusal(compile_prompt, TemplateError)) == {"content"}
    assert set(refusal(lambda: compile_prompt(content=1), TemplateError)) == {"content"}


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 2},
        "age": {"type": ["integer", "null"]},
        "tone": {"enum": ["warm", "dry"], "default": "warm"},
        "user": {"$ref": "#/$defs/user"},
    },
    "$defs": {"user": {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}}},
}
TYPED = "{{name}} {{age}} {{tone}} {{user.id}}"


def test_a_schema_types_variables_and_fills_defaults():
    prompt = compile_prompt(content=TYPED, variables_schema=SCHEMA)
    assert [variable.as_dict() for variable in prompt.variables] == [
        {"name": "name", "type": "string", "required": True},
        {"name": "age", "type": "any", "required": True},
        {"name": "tone", "type": "any", "required": False},
        {"name": "user", "type": "any", "required": True},
    ]
    assert prompt.render({"name": "Ann", "age": None, "user": {"id": 7}}) == "Ann null warm 7"


def test_values_that_do_not_fit_the_schema_are_named_by_dotted_path():
    prompt = compile_prompt(content=TYPED, variables_schema=SCHEMA)
    details = refusal(
        lambda: prompt.render({"name": "A", "age": "x", "tone": "odd", "user": {"id": "7"}}), VariablesError
    )
    assert set(details) == {"variables.name", "variables.age", "variables.tone", "variables.user.id"}


def growing_schema():
    definitions = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)}
    return {"properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": {**definitions, "d40": {}}}


def nested_schema(depth):
    schema = {}
    for _ in range(depth):
        schema = {"not": schema}
    return {"properties": {"a": schema}}


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ([], "variables_schema"),
        ({"type": "array"}, "variables_schema.type"),
        ({"type": "nonsense"}, "variables_schema.type"),
        ({"properties": {"a": {"type": "text"}}}, "variables_schema.properties.a.type"),
        ({"properties": {"other": {}}}, "variables_schema.properties.other"),
        ({"required": ["other"]}, "variables_schema.properties.other"),
        ({"required": [["a"]]}, "variables_schema.required.0"),
        ({"properties": []}, "variables_schema.properties"),
        ({"properties": {"a": {"pattern": "(a+)+$"}}}, "variables_schema.properties.a.pattern"),
        ({"patternProperties": {"(a+)+$": {}}}, "variables_schema.patternProperties"),
        ({"properties": {"a": {"uniqueItems": True}}}, "variables_schema.properties.a.uniqueItems"),
        ({"properties": {"a": {"$ref": "https://example.com/x"}}}, "variables_schema.properties.a.$ref"),
        ({"properties": {"a": {"$ref": "file:///etc/passwd"}}}, "variables_schema.properties.a.$ref"),
        ({"properties": {"a": {"$ref": "#"}}}, "variables_schema.properties.a.$ref"),
        ({"properties": {"a": {"$ref": 1}}}, "variables_schema.properties.a.$ref"),
        ({"properties": {"a": {"$ref": "#/$defs/none"}}}, "variables_schema.$defs.none"),
        (
            {"properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"not": {"$ref": "#/$defs/x"}}}},
            "variables_schema.$defs.x",
        ),
        ({"$schema": "http://json-schema.org/draft-04/schema#"}, "variables_schema.$schema"),
        ({"properties": {"a": {"minLength": -1}}}, "variables_schema.properties.a.minLength"),
        ({"properties": {"a": {"const": "\x00"}}}, "variables_schema.properties.a.const"),
        ({"description": "x" * 70_000}, "variables_schema"),
        (growing_schema(), "variables_schema"),
    ],
)
def test_wrong_schemas_are_refused_by_path(schema, path):
    details = refusal(lambda: compile_prompt(content="{{a}}", variables_schema=schema), SchemaError)
    assert set(details) == {path}, json.dumps(details)


@pytest.mark.parametrize("depth", [60, 500])
def test_deeply_nested_schemas_are_refused(depth):
    details = refusal(lambda: compile_prompt(content="{{a}}", variables_schema=nested_schema(depth)), SchemaError)
    assert next(iter(details)).startswith("variables_schema")


@pytest.mark.parametrize("text", [r'{{ "\ud800" }}', r'{{ "a\x00b" }}', r'{{ "\ud83d" ~ "\ude00" }}'])
def test_what_cannot_be_stored_is_not_rendered_from_escapes(text):
    with pytest.raises(PromptError, match="NUL characters or lone surrogates"):
        compile_prompt(content=text, format="jinja2").render({})


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ({"items": {"allOf": [{"const": "v" * 2_500}] * 20}}, ["v" * 2_500] * 500),
        ({"items": {"$schema": DIALECT, "enum": ["v" * 50_000, "w"]}}, ["w"] * 1000),
        ({"anyOf": [{"type": "integer"}] * 1000}, "x" * 200_000),
        ({"items": {"enum": ["v" * 50_000, "w"]}}, ["w"] * 1000),
    ],
    ids=["many-checks", "by-a-named-dialect", "long-messages", "large-constants"],
)
def test_values_that_take_too_long_to_check_are_refused(part, value):
    schema = {"properties": {"a": part}}
    check_schema(schema, ("a",))
    assert value_problems(schema, {"a": value}, "inputs") == {
        "inputs": "The value is too large to be checked against this schema."
    }
