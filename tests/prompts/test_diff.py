import time

from hypothesis import given
from hypothesis import strategies as st

from apps.prompts.diff import diff_versions

lines = st.lists(st.sampled_from(["a", "b", "c", "", "d e"]), max_size=30).map("\n".join)


def apply(before, hunks):
    """What a patch tool would make of `before`."""
    old, new, position = before.split("\n"), [], 0
    for hunk in hunks:
        start = hunk["from_line"] - 1
        new += old[position:start]
        position = start
        for line in hunk["lines"]:
            if line["op"] != "+":
                assert old[position] == line["text"]
                position += 1
            if line["op"] != "-":
                new.append(line["text"])
        assert position - start == hunk["from_count"]
    return "\n".join(new + old[position:])


@given(lines, lines)
def test_a_diff_applied_to_the_old_text_gives_the_new(before, after):
    changes = diff_versions({"content": before}, {"content": after})
    assert bool(changes) == (before != after)
    for change in changes:
        assert apply(before, change["hunks"]) == after
        assert all(len(hunk["lines"]) <= 60 for hunk in change["hunks"])


def test_large_texts_with_few_words_are_compared_soon_and_rightly():
    before = "\n".join(["same"] * 60_000 + ["x"] + ["same"] * 30_000)
    after = "\n".join(["same"] * 30_000 + ["y"] + ["same"] * 60_000)
    started = time.process_time()
    (change,) = diff_versions({"content": before}, {"content": after})
    assert time.process_time() - started < 2
    assert apply(before, change["hunks"]) == after
