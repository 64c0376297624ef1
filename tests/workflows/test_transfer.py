"""Workflows as YAML: every JSON value comes back as it was, and nothing but JSON is read."""

import json
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.workflows.definition.transfer import MAX_CHARS, TransferProblem, dump_yaml, load_yaml

EXAMPLES = sorted((Path(__file__).parents[2] / "apps/workflows/examples").glob("*.yaml"))
AWKWARD = [
    "", " ", "yes", "no", "on", "off", "y", "n", "Null", "null", "~", "true", "True", "1e3", "1.5", "-0", "0x1F",
    "0o17", "1_000", "12:30", "2024-01-01", "2024-01-01T00:00:00Z", ".inf", ".nan", "<<", "=", "-", "- a", "? a", ": a",
    "a: b",
    "a #b", "#", "&a", "*a", "!a", "!!str a", "%a", "@a", "`a", "{a", "[a", "|", ">", "'", '"', "\\", "a\nb", "a\nb\n",
    "a\n\nb\n\n", "\na", "  a\nb", "a\n  b", "a \nb ", "\n", "\n\n", "a\tb", "\ta", "a\n\tb", "a\r\nb", "a\rb", "---",
    "---\na", "...\n", "é", "日本", "😀", "a\u0085b", "a\u2028b", "\ufeff", "\u200b", "\x1b", "\x7f", "{{ a.b }}",
    "x" * 300,
]  # fmt: skip


@pytest.mark.parametrize("text", AWKWARD, ids=range(len(AWKWARD)))
def test_awkward_texts_come_back_as_values_and_as_keys(text):
    document = {"text": text, text: [text, [text], {text: text}]}
    assert load_yaml(dump_yaml(document)) == document
    assert load_yaml(dump_yaml(text)) == text
    assert yaml.safe_load(dump_yaml(document)) == document  # what other readers of YAML find in it


alphabet = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\n\t #:-{}[]'\"|>&*!?,%@`\\~"))
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | alphabet
    | st.sampled_from(AWKWARD),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(alphabet, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(json_values)
def test_any_json_comes_back_exactly(value):
    found = load_yaml(dump_yaml(value))
    assert json.dumps(found) == json.dumps(value)  # types and the order of keys too


@settings(max_examples=200, deadline=None)
@given(st.text("ab:-? \n\t{}[]&*!|>'\"#,%01.~<", max_size=40))
def test_any_text_is_read_as_json_or_refused(text):
    try:
        json.dumps(load_yaml(text), allow_nan=False)
    except TransferProblem as problem:
        assert str(problem)  # noqa: PT017 (either is right)


def test_texts_of_several_lines_are_blocks():
    assert dump_yaml({"text": "a\nb\n", "last": [1]}) == "text: |\n  a\n  b\nlast:\n  - 1\n"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_read_as_other_readers_do(path):
    text = path.read_text()
    document = load_yaml(text)
    assert document == yaml.safe_load(text)
    assert json.dumps(load_yaml(dump_yaml(document))) == json.dumps(document)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &x [1]\nb: *x", "line 1, column 4: anchors and aliases"),
        ("b: *x", "aliases"),
        ("a: !!python/object:os.system x", "line 1, column 4: tags are not taken"),
        ("a: !!str 1", "tags"),
        ("!x {a: 1}", "tags"),
        ("? !x a\n: 1", "tags"),
        ("? &x a\n: 1", "anchors"),
        ("a: 1\nb: 2\na: 3", "line 3, column 1: the key 'a' is there twice"),
        ("'a': 1\na: 3", "twice"),
        ("a: 1\n<<: {b: 1}", "merge keys"),
        ("? [a]\n: 1", "line 1, column 3: a key is a text"),
        ("a: 1\n---\nb: 2", "more than one document"),
        ("", "empty"),
        ("# nothing", "empty"),
        ("a: [1", "line "),
        ("a: b: c", "line 1, column 5"),
        ("\ta: 1", "line 1"),
        ("a: 1e999", "line 1, column 4: the number is too large"),
        ("a: " + "9" * 2000, "the number is too large"),
        ("[" * 70 + "]" * 70, "nested deeper"),
        ("[" * 100_000, "nested deeper"),
        ("- " * 70 + "a", "nested deeper"),
        ("[" + "1," * 100_001 + "]", "more than 100000 values"),
        ("a" * (MAX_CHARS + 1), "longer than"),
        ('a: "\\ud800"', ""),
        ("a: \x00", ""),
        ("a: \ud800", ""),
        ("%TAG ! tag:x,2000:\n--- !a b", ""),
    ],
    ids=range(28),
)
def test_what_is_no_json_is_refused_with_its_place(text, reason):
    started = time.process_time()
    with pytest.raises(TransferProblem, match=reason or "."):
        load_yaml(text)
    assert time.process_time() - started < 5


def test_billions_of_laughs_are_refused_at_once():
    lines = ['a0: &a0 ["ha"]', *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))]
    with pytest.raises(TransferProblem, match="anchors"):
        load_yaml("\n".join(lines))


def test_words_that_are_not_of_json_are_texts():
    text = "a: yes\nb: 2024-01-01\nc: 0x1F\nd: 1_000\ne: .inf\nf: True\ng: 1.\nh: 1e3\ni:\nj: ~\nk: 012"
    assert load_yaml(text) == {
        "a": "yes", "b": "2024-01-01", "c": "0x1F", "d": "1_000", "e": ".inf", "f": "True", "g": "1.", "h": 1000.0,
        "i": None, "j": None, "k": "012",
    }  # fmt: skip
    assert load_yaml('{"a": [1, 2.5, true, null, "\\u00e9"]}') == {"a": [1, 2.5, True, None, "é"]}
