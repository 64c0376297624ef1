import json
import string

from hypothesis import given, settings
from hypothesis import strategies as st

from apps.prompts.rendering import PromptError, compile_prompt, extract_variables

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=200)
plain = texts.filter(lambda text: "{" not in text)
names = st.text(string.ascii_letters + "_", min_size=1, max_size=10)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
fragments = st.sampled_from(
    [
        "{{",
        "}}",
        "{%",
        "%}",
        "{#",
        "#}",
        "{",
        "}",
        "\\",
        "a",
        "b.c",
        "x|upper",
        "for",
        "in",
        "if",
        "endif",
        "endfor",
        "set",
        "=",
        "macro",
        "endmacro",
        "(",
        ")",
        "[",
        "]",
        "'",
        '"',
        ",",
        ".",
        "|",
        "~",
        "*",
        "**",
        "%",
        "9",
        "range",
        "loop",
        "is",
        "defined",
        "not",
        "and",
        "else",
        "raw",
        "endraw",
        "-",
        "+",
        "\x00",
        "\ud800",
        "é",
        "🙂",
        ":",
        "\n",
    ]
)
templates = st.lists(fragments, max_size=40).map("".join) | st.text(max_size=200)


@given(plain)
def test_text_without_braces_is_its_own_rendering(text):
    assert compile_prompt(content=text).render({}) == text


@given(plain)
def test_a_jinja_text_without_braces_changes_only_in_its_line_ends(text):
    expected = text.replace("\r\n", "\n").replace("\r", "\n")
    assert compile_prompt(content=text, format="jinja2").render({}) == expected


@given(texts)
def test_escaped_text_is_its_own_rendering(text):
    assert compile_prompt(content=_escape(text)).render({}) == text


def _escape(text):
    escaped, rest = "", text
    while (at := rest.find("{{")) >= 0:
        before = rest[:at]
        slashes = len(before) - len(before.rstrip("\\"))
        braces = len(rest[at:]) - len(rest[at:].lstrip("{"))
        escaped += before + "\\" * (slashes + 1) + "{" * braces
        rest = rest[at + braces :]
    return escaped + rest


@given(plain, names, values, plain)
def test_a_value_is_put_in_once_and_never_read_again(before, name, value, after):
    before = before.rstrip("\\")
    expected = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    rendered = compile_prompt(content=before + "{{" + name + "}}" + after).render({name: value})
    assert rendered == before + expected + after


@given(values)
def test_a_value_that_looks_like_a_template_stays_text_in_both_formats(value):
    hostile = ["{{ a }}", "{% for x in a %}", "{{", value]
    simple = compile_prompt(content="{{a}}").render({"a": hostile})
    assert simple == compile_prompt(content="{{ a }}", format="jinja2").render({"a": hostile})
    assert json.loads(simple) == hostile


def error_of(action):
    """The details of our error, or nothing; any other exception fails the test."""
    try:
        action()
    except PromptError as error:
        return error.details or {"": "an error without details"}
    return {}


@given(templates, st.sampled_from(["simple", "jinja2"]))
@settings(max_examples=200)
def test_any_text_is_a_template_or_our_error(source, kind):
    refused = error_of(lambda: compile_prompt(content=source, format=kind))
    assert set(refused) <= {"content"}
    if not refused:
        prompt = compile_prompt(content=source, format=kind)
        found = dict.fromkeys(extract_variables(source, kind), "v")
        failed = error_of(lambda: prompt.render(found))
        assert "" not in failed
        assert not {f"variables.{name}" for name in found} & set(failed)


@given(values, values)
def test_any_messages_and_schema_are_accepted_or_refused_as_ours(messages, schema):
    assert all(path.startswith(("messages", "content")) for path in error_of(lambda: compile_prompt(messages=messages)))
    prompt = {"content": "{{a}}", "variables_schema": schema}
    assert all(path.startswith("variables") for path in error_of(lambda: compile_prompt(**prompt).render({"a": 1})))
