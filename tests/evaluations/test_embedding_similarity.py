"""The cosine of embeddings, and vectors that have none."""

from uuid import uuid4

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.evaluations.evaluators.embedding_similarity import cosine
from apps.evaluations.judging.calling import caller_for
from apps.models.models import Capability
from apps.workflows.evaluating import ABSENT, Context, EvaluationError, config_problems, evaluate, evaluators
from tests.upstream import Behaviour


def answers(upstream, *vectors):
    data = [{"object": "embedding", "index": n, "embedding": vector} for n, vector in enumerate(vectors)]
    usage = {"prompt_tokens": 8, "total_tokens": 8}
    upstream.script([Behaviour(raw_body=orjson.dumps({"object": "list", "data": data, "usage": usage}))])


@pytest.fixture
def similarity(organization, editor, make_model):
    model = make_model("text-embedding-3", capabilities=[Capability.EMBEDDINGS])

    def run(output, expected, **config):
        caller = caller_for(
            organization_id=organization.id, created_by_id=editor.user.id, api_key_id=None, key_prefix=str(uuid4())
        )
        config = {"model_id": str(model.id), **config}
        assert config_problems(evaluators()["embedding_similarity"], config) == []
        return evaluate(evaluators()["embedding_similarity"], config, Context(output, expected, caller=caller))

    return run


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("vectors", "threshold", "score", "passed"),
    [
        (([3.0, 4.0], [4.0, 3.0]), None, 0.96, None),
        (([3.0, 4.0], [4.0, 3.0]), 0.9, 0.96, True),
        (([1.0, 0.0], [0.0, 2.0]), 0.1, 0, False),
        (([1.0, 0.0], [-1.0, 0.0]), None, 0, None),
        (([1.0, 0.0], [0.0, 1.0], [5.0, 0.0]), None, 1, None),
        (([1e300, 0.0], [1e-300, 0.0]), None, 1, None),
    ],
)
def test_the_score_is_the_cosine_of_the_nearest(similarity, upstream, vectors, threshold, score, passed):
    answers(upstream, *vectors)
    expected = [f"reference {n}" for n in range(len(vectors) - 1)]
    found = similarity("output", expected, **({} if threshold is None else {"threshold": threshold}))
    assert (found.score, found.passed) == (pytest.approx(score), passed)
    assert len(found.execution_ids) == 1
    assert found.cost_usd > 0
    assert upstream.requests[-1].body["input"] == ["output", *expected]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "vectors", [([1.0], [1.0, 2.0]), ([0.0, 0.0], [1.0, 0.0]), ([], []), ([1.7e308, 1.7e308], [1.0, 1.0])]
)
def test_vectors_without_a_cosine_are_an_error_that_was_paid_for(similarity, upstream, vectors):
    answers(upstream, *vectors)
    with pytest.raises(EvaluationError) as caught:
        similarity("output", "expected")
    assert caught.value.code == "INVALID_VECTORS"
    assert len(caught.value.execution_ids) == 1
    assert caught.value.cost_usd > 0


@pytest.mark.django_db
def test_vectors_that_are_no_numbers_are_an_error(similarity, upstream):
    upstream.script(
        [Behaviour(raw_body=b'{"data": [{"index": 0, "embedding": [NaN]}, {"index": 1, "embedding": [1]}]}')]
    )
    with pytest.raises(EvaluationError):
        similarity("output", "expected")


@pytest.mark.django_db
def test_what_is_empty_or_too_large_is_not_sent(similarity, upstream):
    assert similarity(" ", "expected", threshold=0.5).passed is False
    for output, expected, code in (
        ("a", "", "NOTHING_EXPECTED"),
        ("a", [], "NOTHING_EXPECTED"),
        ("a", ABSENT, "NOTHING_EXPECTED"),
        ("a" * 60_000, "b", "TOO_LARGE"),
    ):
        with pytest.raises(EvaluationError) as caught:
            similarity(output, expected)
        assert caught.value.code == code
    assert upstream.request_count == 0


NUMBERS = st.floats(min_value=-1e6, max_value=1e6).filter(lambda number: abs(number) > 1e-3)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=20), st.floats(min_value=1e-3, max_value=1e3))
def test_the_cosine_is_symmetric_within_one_and_blind_to_length(pairs, factor):
    one, other = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    found = cosine(one, other)
    assert -1 - 1e-9 <= found <= 1 + 1e-9
    assert cosine(other, one) == pytest.approx(found, abs=1e-9)
    assert cosine([factor * number for number in one], other) == pytest.approx(found, abs=1e-9)
    assert cosine(one, one) == pytest.approx(1)
