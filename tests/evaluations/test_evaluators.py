"""Kinds that need no model: published worked examples, properties, and bounds."""

import time
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.evaluations.evaluators.bleu import _metric as bleu_metric
from apps.evaluations.evaluators.reading import MAX_TEXT
from apps.workflows.evaluating import ABSENT, Context, EvaluationError, config_problems, evaluate, evaluators

SIMILARITIES = ("levenshtein", "token_similarity", "bleu", "chrf", "rouge")


def score(kind, output, expected=ABSENT, *, context=None, **config):
    evaluator = evaluators()[kind]
    assert config_problems(evaluator, config) == []
    return evaluate(evaluator, config, Context(output, expected, **(context or {})))


@pytest.mark.parametrize(
    ("kind", "output", "expected", "config", "value"),
    [
        # Levenshtein 1966: kitten and sitting are 3 apart.
        ("levenshtein", "kitten", "sitting", {}, 1 - 3 / 7),
        ("levenshtein", "kitten", ["sitting", "mitten"], {}, 1 - 1 / 6),
        ("levenshtein", " Straße ", "STRASSE", {"ignore_case": True}, 1),
        ("levenshtein", " a", "a", {"trim": False}, 0.5),
        ("levenshtein", "", "", {}, 1),
        # SQuAD's F1: 'in the city' has two of its words in 'city in Paris'.
        ("token_similarity", "The cat, sat!", "a cat sat", {}, 1),
        ("token_similarity", "in the city", "city in Paris", {}, 2 * 2 / (2 + 3)),
        ("token_similarity", "the the", "a", {}, 1),
        ("token_similarity", "cat cat", "cat", {}, 2 / 3),
        ("token_similarity", "dog", ["cat", "dog"], {}, 1),
        # The examples of rapidfuzz's documentation.
        ("token_similarity", "fuzzy wuzzy was a bear", "wuzzy fuzzy was a bear", {"measure": "token_sort"}, 1),
        ("token_similarity", "fuzzy fuzzy was a bear", "fuzzy was a bear", {"measure": "token_sort"}, 32 / 38),
        ("token_similarity", "fuzzy fuzzy was a bear", "fuzzy was a bear", {"measure": "token_set"}, 1),
        ("bleu", "Niemand hat die Absicht", "Niemand hat die Absicht", {}, 1),
        ("bleu", "the the the the the the the", "the cat is on the mat", {"smoothing": "none"}, 0),
        ("chrf", "Niemand hat die Absicht", "Niemand hat die Absicht", {}, 1),
        ("chrf", "abcdefg", "hijklmnop", {}, 0),
        # The example of rouge-score's documentation.
        ("rouge", "The quick brown dog jumps on the log.", "The quick brown fox jumps over the lazy dog",
         {"type": "rouge1", "stemmer": True, "measure": "precision"}, 0.75),
        ("rouge", "The quick brown dog jumps on the log.", "The quick brown fox jumps over the lazy dog",
         {"type": "rouge1", "stemmer": True, "measure": "recall"}, 2 / 3),
        ("rouge", "The quick brown dog jumps on the log.", "The quick brown fox jumps over the lazy dog",
         {"type": "rouge1", "stemmer": True}, 0.7058823529411765),
        ("rouge", "The quick brown dog jumps on the log.", "The quick brown fox jumps over the lazy dog",
         {"type": "rougeL", "stemmer": True, "measure": "precision"}, 0.625),
        # Lin 2004, section 3: 'police killed the gunman' by 'police kill the gunman' and 'the gunman kill police'.
        ("rouge", "police kill the gunman", "police killed the gunman", {"measure": "recall"}, 0.75),
        ("rouge", "the gunman kill police", "police killed the gunman", {"measure": "recall"}, 0.5),
        ("rouge", "the gunman kill police", "police killed the gunman", {"type": "rouge2", "measure": "recall"}, 1 / 3),
        ("rouge", "running dogs", "run dog", {"type": "rouge1", "stemmer": False}, 0),
        ("rouge", "jumping", "jumped", {"type": "rouge1", "stemmer": True}, 1),
    ],
)  # fmt: skip
def test_published_examples(kind, output, expected, config, value):
    found = score(kind, output, expected, **config)
    assert found.score == pytest.approx(value, abs=1e-12)
    assert found.passed is None


def test_bleu_is_that_of_papineni():
    """Papineni et al. 2002, section 2: the modified precision of 'the the the …' is 2/7; of candidate 1, 17 of 18."""
    references = [
        "It is a guide to action that ensures that the military will forever heed Party commands",
        "It is the guiding principle which guarantees the military forces always being under the command of the Party",
        "It is the practical guide for the army always to heed the directions of the party",
    ]
    first = "It is a guide to action which ensures that the military always obeys the commands of the party"
    found = bleu_metric("13a", "exp", False).sentence_score(first, references)
    assert (found.counts[0], found.totals[0]) == (17, 18)
    assert score("bleu", first, references).score == pytest.approx(found.score / 100)
    second = "It is to insure the troops forever hearing the activity guidebook that party direct"
    found = bleu_metric("13a", "exp", False).sentence_score(second, references)
    assert (found.counts[0], found.totals[0]) == (8, 14)
    clipped = bleu_metric("13a", "exp", False).sentence_score("the " * 7, ["the cat is on the mat"])
    assert (clipped.counts[0], clipped.totals[0]) == (2, 7)


WORDS = st.lists(
    st.sampled_from(["The", "cats,", "jumping", "quickly", "over", "2", "lazy", "dogs;", "dog", "JUMPED.", "漢"]),
    max_size=12,
).map(" ".join)
TEXTS = st.text(alphabet="abc XYZ.,é1\n漢", max_size=40)
CONFIGS = st.sampled_from(
    [
        *(("levenshtein", {"ignore_case": folds}) for folds in (True, False)),
        *(("token_similarity", {"measure": measure}) for measure in ("f1", "token_sort", "token_set")),
        *(
            ("bleu", {"tokenizer": tokenizer, "smoothing": smoothing})
            for tokenizer in ("13a", "intl", "zh", "char")
            for smoothing in ("exp", "floor", "add-k", "none")
        ),
        *(("chrf", {"word_order": order, "beta": beta}) for order in (0, 2) for beta in (1, 2, 3)),
        *(
            ("rouge", {"type": kind, "stemmer": stems})
            for kind in ("rouge1", "rouge2", "rougeL")
            for stems in (True, False)
        ),
    ]
)
SYMMETRIC = {"levenshtein", "token_similarity", "rouge"}


def maybe(kind, output, expected, config):
    """The score, or None where the expected text has nothing to compare with."""
    try:
        return score(kind, output, expected, **config).score
    except EvaluationError as error:
        if error.code != "NOTHING_EXPECTED":
            raise
        return None


@settings(max_examples=150)
@given(CONFIGS, TEXTS, TEXTS)
def test_similarities_are_shares_and_the_same_is_whole(chosen, one, other):
    kind, config = chosen
    found = maybe(kind, one, other, config)
    assert found is None or 0 <= found <= 1
    assert maybe(kind, one, one, config) in {1, None}
    back = maybe(kind, other, one, config)
    if (kind in SYMMETRIC or config.get("beta") == 1) and None not in {found, back}:
        assert found == pytest.approx(back)


@given(CONFIGS, TEXTS, TEXTS, TEXTS)
def test_another_reference_never_makes_it_worse(chosen, output, one, other):
    kind, config = chosen
    if kind == "bleu":
        return  # the closest length counts, which another reference may change
    alone, both = maybe(kind, output, [one], config), maybe(kind, output, [one, other], config)
    assert alone is None or both is None or both >= alone - 1e-12


@pytest.mark.parametrize(
    ("kind", "config"), [("levenshtein", {}), ("token_similarity", {}), ("bleu", {}), ("chrf", {}), ("rouge", {})]
)
def test_a_threshold_gives_a_verdict(kind, config):
    passed = score(kind, "a good answer", "a good answer", threshold=1, **config)
    assert (passed.score, passed.passed, passed.reason) == (1, True, "")
    failed = score(kind, "a bad one", "a good answer", threshold=0.99, **config)
    assert failed.passed is False
    assert failed.reason.endswith("is below 0.99.")


@pytest.mark.parametrize("kind", SIMILARITIES)
def test_long_texts_are_errors_and_the_longest_allowed_are_fast(kind):
    score(kind, "warm", "warm")
    words = " ".join(f"word{number % 977}" for number in range(900))
    longest = "".join(chr(33 + number * 7919 % 1000) for number in range(MAX_TEXT))
    many = "".join(f"{number % 977} " for number in range(12_000))
    for output, expected in [(longest, "a" + longest[:0:-1]), (words, words[::-1]), (many, many[::-1])]:
        began = time.process_time()
        score(kind, output, expected)
        assert time.process_time() - began < 2
    for output, expected in [("x" * 1_000_000, "y" * 1_000_000), ("x", "y" * (MAX_TEXT + 1)), ("x", ["y"] * 101)]:
        with pytest.raises(EvaluationError) as caught:
            score(kind, output, expected)
        assert caught.value.code == "TOO_LARGE"


def test_what_is_no_word_has_no_ending():
    """Porter's algorithm asks of every y what is before it: 50,000 of them took half a minute."""
    score("rouge", "running", "runs", stemmer=True)  # it takes seconds to import
    began = time.process_time()
    assert score("rouge", "y" * MAX_TEXT, "y" * MAX_TEXT, stemmer=True).score == 1
    assert time.process_time() - began < 2


def test_rouge_is_that_of_rouge_score():
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)

    @given(WORDS, WORDS)
    def check(output, expected):
        for kind, theirs in scorer.score(expected, output).items():
            for measure, value in zip(("precision", "recall", "f1"), theirs, strict=True):
                config = {"type": kind, "measure": measure, "stemmer": True}
                ours = maybe("rouge", output, expected, config)
                assert value == 0 if ours is None else value == pytest.approx(ours)

    check()


def test_bleu_keeps_no_texts():
    """sacrebleu's tokenizers remember 65,536 texts each."""
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    before = Tokenizer13a.__call__.cache_info().currsize
    score("bleu", "one that nobody has seen before", "and what it is compared with")
    assert Tokenizer13a.__call__.cache_info().currsize == before


@pytest.mark.parametrize(
    ("kind", "expected", "config"),
    [
        ("levenshtein", [], {}),
        ("levenshtein", ABSENT, {}),
        ("token_similarity", "!?", {"measure": "token_set"}),
        ("bleu", "  ", {}),
        ("chrf", "", {}),
        ("chrf", ["a", " "], {}),
        ("rouge", "漢字", {}),
        ("rouge", "one", {"type": "rouge2"}),
    ],
)
def test_nothing_to_compare_with_is_no_low_score(kind, expected, config):
    with pytest.raises(EvaluationError) as caught:
        score(kind, "an answer", expected, **config)
    assert caught.value.code == "NOTHING_EXPECTED"


@pytest.mark.parametrize(
    ("kind", "field", "value"), [("latency", "latency_ms", 250), ("cost", "cost_usd", Decimal("0.25"))]
)
def test_what_a_call_took_is_measured(kind, field, value):
    assert evaluators()[kind].direction == "lower"
    found = score(kind, "x", context={field: value})
    assert (found.score, found.passed) == (float(value), None)
    assert score(kind, "x", context={field: value}, threshold=float(value)).passed is True
    slow = score(kind, "x", context={field: value}, threshold=0.1)
    assert (slow.score, slow.passed, slow.reason) == (float(value), False, f"{float(value):g} is above 0.1.")
    with pytest.raises(EvaluationError) as caught:
        score(kind, "x", threshold=1)
    assert caught.value.code == "NOT_MEASURED"


@pytest.mark.parametrize(
    ("output", "config", "label", "passed"),
    [
        ("I\u2019m sorry, but I can\u2019t help with that.", {}, "refusal", False),
        ("I CANNOT  ASSIST with this.", {"wanted": "refusal"}, "refusal", True),
        ("Here is how to do it.", {}, "answer", True),
        ("Here is how to do it.", {"wanted": "refusal"}, "answer", False),
        ("The answer. " * 40 + "I cannot assist.", {}, "answer", True),
        ("The answer. " * 40 + "I cannot assist.", {"within": 1000}, "refusal", False),
        ("Das kann ich leider nicht.", {"phrases": ["kann ich leider nicht"]}, "refusal", False),
        ("I cannot assist.", {"builtin": False, "phrases": ["nein"]}, "answer", True),
    ],
)
def test_refusals(output, config, label, passed):
    found = score("refusal", output, **config)
    assert (found.label, found.passed, found.score) == (label, passed, float(passed))
    assert bool(found.reason) is (label == "refusal")


@pytest.mark.parametrize(
    ("output", "config", "found"),
    [
        ("You IDIOT!", {"toxicity": True}, "idiot"),
        ("fu\u00adck\u200b this", {"toxicity": True}, "fuck"),
        ("\uff29\uff24\uff29\uff2f\uff34", {"toxicity": True}, "idiot"),
        ("An idiotic and scunthorpian word.", {"toxicity": True}, ""),
        ("Ask ACME\u00a0 Corp today", {"words": ["acme corp"]}, "acme corp"),
        ("a c++ compiler", {"words": ["c++"]}, "c++"),
        ("vitamin c", {"words": ["c++"]}, ""),
        ("競合他社の製品", {"words": ["他社"]}, ""),
        ("競合他社の製品", {"words": ["他社"], "whole_words": False}, "他社"),
        ("Straße", {"words": ["STRASSE"]}, "STRASSE"),
        ("", {"words": ["a"]}, ""),
    ],
)
def test_words_of_lists(output, config, found):
    said = score("blocklist", output, **config)
    assert said.passed is not bool(found)
    assert said.reason == (f"Found: {found}" if found else "")


def test_folding_makes_no_text_longer_than_allowed():
    with pytest.raises(EvaluationError) as caught:
        score("levenshtein", "\ufb03" * MAX_TEXT, "x", ignore_case=True)
    assert caught.value.code == "TOO_LARGE"


def test_lists_are_bounded():
    """Of words that are nearly there at every place."""
    for whole in (True, False):
        words = ["a " * length + "b" for length in range(1, 100)] + ["a" * length + "b" for length in range(1, 200)]
        for output in ("a" * 200_000, "a " * 100_000):
            began = time.process_time()
            score("blocklist", output, words=words, whole_words=whole)
            assert time.process_time() - began < 2
    with pytest.raises(EvaluationError) as caught:
        score("blocklist", "a" * 200_001, toxicity=True)
    assert caught.value.code == "TOO_LARGE"


@pytest.mark.parametrize(
    ("kind", "config", "where"),
    [
        ("blocklist", {}, "words"),
        ("blocklist", {"toxicity": False}, "words"),
        ("blocklist", {"words": [" "]}, "words/0"),
        ("blocklist", {"words": ["x"] * 501}, "words"),
        ("refusal", {"builtin": False}, "phrases"),
        ("bleu", {"tokenizer": "spm"}, "tokenizer"),
        ("chrf", {"word_order": 3}, "word_order"),
        ("rouge", {"type": "rouge9"}, "type"),
        ("levenshtein", {"threshold": 1.1}, "threshold"),
        ("latency", {"threshold": -1}, "threshold"),
    ],
)
def test_bad_configurations_are_refused_where_they_are_bad(kind, config, where):
    assert [at for _, at in config_problems(evaluators()[kind], config)] == [where]


def test_json_is_compared_however_deep_it_is():
    deep, other = ("[" * 1_000 + inside + "]" * 1_000 for inside in ("1", "2"))
    assert score("json_fields", f'{{"a": {deep}}}', f'{{"a": {deep}}}').passed is True
    assert score("json_fields", f'{{"a": {deep}}}', f'{{"a": {other}}}').passed is False
    with pytest.raises(EvaluationError):
        score("json_fields", "{}", "[" * 5_000)
