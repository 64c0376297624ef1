"""Judges: what they ask, how their answers become a score, and what becomes of answers that are none."""

from decimal import Decimal
from uuid import uuid4

import orjson
import pytest

from apps.evaluations.judging.calling import caller_for
from apps.executions.models import Execution, Source
from apps.workflows.evaluating import Context, EvaluationError, config_problems, evaluate, evaluators
from tests.upstream import Behaviour

pytestmark = pytest.mark.django_db
ONE_CALL = Decimal("0.000119375")
YES_OR_NO = {"type": "boolean"}
STARS = {"type": "numeric", "minimum": 1, "maximum": 5, "step": 1}
TONES = {"type": "categorical", "choices": [{"label": "rude"}, {"label": "neutral"}, {"label": "kind"}]}


def says(upstream, *verdicts):
    """One answer after the other."""
    upstream.script(
        Behaviour(text=orjson.dumps({"reason": f"It is {verdict}.", "verdict": verdict}).decode())
        for verdict in verdicts
    )


@pytest.fixture
def judge(organization, editor, model):
    """Judges an output; further arguments are of the configuration, or the context."""

    def run(output, *, kind="llm_judge", context=None, **config):
        common = {"organization_id": organization.id, "created_by_id": editor.user.id, "api_key_id": None}
        caller = caller_for(**common, key_prefix=str(uuid4()))
        config = {"model_id": str(model.id), "rubric": "It is polite.", **config}
        assert config_problems(evaluators()[kind], config) == []
        return evaluate(evaluators()[kind], config, Context(output, caller=caller, **(context or {})))

    return run


@pytest.mark.parametrize(
    ("scale", "verdict", "threshold", "score", "passed", "label"),
    [
        (YES_OR_NO, True, None, 1, True, None),
        (YES_OR_NO, False, None, 0, False, None),
        (STARS, 4, None, 4, None, None),
        (STARS, 4, 4, 4, True, None),
        (STARS, 3, 3.5, 3, False, None),
        ({"type": "numeric", "minimum": 0, "maximum": 1}, 0.25, None, 0.25, None, None),
        (TONES, "neutral", None, 1, None, "neutral"),
        (TONES, "rude", 1, 0, False, "rude"),
        ({"type": "categorical", "choices": [{"label": "a", "value": -3}, {"label": "b"}]}, "a", None, -3, None, "a"),
    ],
)
def test_a_verdict_becomes_a_score_on_its_scale(judge, upstream, scale, verdict, threshold, score, passed, label):
    says(upstream, verdict)
    found = judge("Hello!", scale=scale, **({} if threshold is None else {"threshold": threshold}))
    assert (found.score, found.passed, found.label) == (score, passed, label)
    assert found.reason == f"It is {verdict}."
    execution = Execution.objects.get(source=Source.JUDGE)
    assert (found.cost_usd, found.execution_ids) == (ONE_CALL, (execution.id,))
    vote = {"verdict": verdict, "reason": found.reason, "execution_id": str(execution.id)}
    assert found.details["votes"] == [vote]


def test_the_judge_is_asked_for_its_reason_first(judge, upstream):
    says(upstream, 3)
    judge("Hello!", scale=STARS, language="German", parameters={"temperature": 0})
    body = upstream.requests[0].body
    schema = body["response_format"]["json_schema"]
    assert schema["strict"] is True
    assert list(schema["schema"]["properties"]) == ["reason", "verdict"]
    assert schema["schema"]["properties"]["verdict"] == {"type": "number", "enum": [1.0, 2.0, 3.0, 4.0, 5.0]}
    assert body["temperature"] == 0
    assert "in German" in body["messages"][0]["content"]


def test_it_sees_the_input_and_the_expected_value_as_configured_and_no_metadata(judge, upstream):
    context = {"input": "IN-PUT", "expected": "EX-PECTED", "metadata": {"label": "META-LABEL"}}
    for uses_input, uses_expected in [(True, False), (False, True), (True, True), (False, False)]:
        says(upstream, True)
        judge("OUT-PUT", scale=YES_OR_NO, uses_input=uses_input, uses_expected=uses_expected, context=context)
        sent = orjson.dumps(upstream.requests[-1].body).decode()
        assert ("IN-PUT" in sent, "EX-PECTED" in sent) == (uses_input, uses_expected)
        assert "OUT-PUT" in sent
        assert "META-LABEL" not in sent
    assert not Execution.objects.exclude(metadata={}).exists()
    with pytest.raises(EvaluationError) as caught:
        judge("x", scale=YES_OR_NO, uses_expected=True)
    assert caught.value.code == "NOTHING_EXPECTED"


@pytest.mark.parametrize(
    ("scale", "aggregate", "verdicts", "score"),
    [
        (YES_OR_NO, "majority", [True, False, True], 1),
        (YES_OR_NO, "majority", [False, False, True], 0),
        (TONES, "majority", ["kind", "rude", "kind"], 2),
        (STARS, "mean", [1, 2, 5, 4], 3),
        (STARS, "median", [1, 1, 5], 1),
        (STARS, None, [1, 2], 1.5),
    ],
)
def test_several_votes_become_one(judge, upstream, scale, aggregate, verdicts, score):
    says(upstream, *verdicts)
    found = judge("Hi", scale=scale, repeats=len(verdicts), **({"aggregate": aggregate} if aggregate else {}))
    assert found.score == score
    assert [vote["verdict"] for vote in found.details["votes"]] == verdicts
    assert found.cost_usd == ONE_CALL * len(verdicts)
    assert len(set(found.execution_ids)) == len(verdicts) == upstream.request_count


def test_divided_votes_are_no_score(judge, upstream):
    says(upstream, "rude", "kind", "neutral")
    with pytest.raises(EvaluationError) as caught:
        judge("Hi", scale=TONES, repeats=3)
    assert (caught.value.code, caught.value.cost_usd) == ("NO_MAJORITY", 3 * ONE_CALL)
    assert len(caught.value.execution_ids) == 3


NO_ANSWERS = [
    "Very polite, I would say yes.",
    '{"verdict": true}',
    '{"reason": "", "verdict": "true"}',
    '{"reason": "", "verdict": true, "score": 10}',
    '[{"reason": "", "verdict": true}]',
    '{"reason": "", "verdict": 10}',
]


@pytest.mark.parametrize("text", NO_ANSWERS)
def test_an_invalid_answer_is_asked_for_again_and_then_is_an_error(judge, upstream, text):
    upstream.answer_always(Behaviour(text=text))
    with pytest.raises(EvaluationError) as caught:
        judge("Hi", scale=YES_OR_NO)
    assert caught.value.code == "INVALID_JUDGEMENT"
    # Three tries, each with one repair; what they have cost is told.
    assert upstream.request_count == 6
    assert caught.value.cost_usd == 6 * ONE_CALL
    assert set(caught.value.execution_ids) == set(Execution.objects.values_list("id", flat=True))
    assert len(caught.value.execution_ids) == 3


def test_a_valid_answer_after_invalid_ones_counts(judge, upstream):
    good = '{"reason": "Fine.", "verdict": true}'
    upstream.script([Behaviour(text="no"), Behaviour(text="no"), Behaviour(text="no"), Behaviour(text=good)])
    found = judge("Hi", scale=YES_OR_NO)
    assert (found.score, found.cost_usd, len(found.execution_ids)) == (1, 4 * ONE_CALL, 2)


@pytest.mark.parametrize(("minimum", "verdict"), [(1, 0), (1, 6), (1, 2.5), (1, "3"), (1, True), (1, None)])
def test_a_verdict_off_the_scale_is_no_answer(judge, upstream, minimum, verdict):
    upstream.answer_always(Behaviour(text=orjson.dumps({"reason": "", "verdict": verdict}).decode()))
    with pytest.raises(EvaluationError) as caught:
        judge("Hi", scale={**STARS, "minimum": minimum})
    assert caught.value.code == "INVALID_JUDGEMENT"


def test_calls_of_tools_cut_answers_and_refusals_are_no_answers(judge, upstream):
    good = '{"reason": "Fine.", "verdict": true}'
    tools = [{"id": "call_1", "name": "f", "arguments": good}]
    for behaviour in (
        Behaviour(tool_calls=tools, text=""),
        Behaviour(text=good, finish_reason="length"),
        Behaviour(text=good, finish_reason="content_filter"),
    ):
        upstream.answer_always(behaviour)
        with pytest.raises(EvaluationError) as caught:
            judge("Hi", scale=YES_OR_NO)
        assert caught.value.code == "INVALID_JUDGEMENT"


def test_a_failed_call_is_an_error_with_its_code_and_what_was_paid_before(judge, upstream):
    upstream.script([Behaviour(text='{"reason": "", "verdict": true}'), Behaviour(status=400, message="No.")])
    with pytest.raises(EvaluationError) as caught:
        judge("Hi", scale=YES_OR_NO, repeats=3)
    assert (caught.value.code, caught.value.cost_usd) == ("INVALID_REQUEST", ONE_CALL)
    assert len(caught.value.execution_ids) == upstream.request_count == 2


def test_reasons_can_be_stored_whatever_the_judge_says(judge, upstream):
    text = orjson.dumps({"reason": "a\0b" + "x" * 5000, "verdict": True}).decode()
    upstream.script([Behaviour(text=text)])
    reason = judge("Hi", scale=YES_OR_NO).reason
    assert reason.startswith("a\N{REPLACEMENT CHARACTER}b")
    assert len(reason) == 2000


def test_what_is_too_large_or_no_json_is_not_sent(judge, upstream):
    for output, code in (("x" * 200_000, "TOO_LARGE"), (float("nan"), "NOT_JSON"), ({"a": {1, 2}}, "NOT_JSON")):
        with pytest.raises(EvaluationError) as caught:
            judge(output, scale=YES_OR_NO)
        assert caught.value.code == code
    assert upstream.request_count == 0


def problems(kind="llm_judge", **config):
    whole = {"model_id": str(uuid4()), "rubric": "r", **config}
    found = config_problems(evaluators()[kind], {name: value for name, value in whole.items() if value is not None})
    return {where for _, where in found}


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ({"scale": None}, ""),
        ({"rubric": None}, ""),
        ({"rubric": ""}, "rubric"),
        ({"model_id": "gpt-5"}, "model_id"),
        ({"model_id": f"{uuid4()}\n"}, "model_id"),
        ({"scale": {"type": "stars"}}, "scale"),
        ({"scale": {**YES_OR_NO, "minimum": 1}}, "scale"),
        ({"scale": {**STARS, "maximum": 1}}, "scale/maximum"),
        ({"scale": {**STARS, "step": 0.3}}, "scale/step"),
        ({"scale": {**STARS, "step": 0.001}}, "scale/step"),
        ({"scale": {**STARS, "step": 0}}, "scale"),
        ({"scale": {"type": "categorical", "choices": [{"label": "a"}]}}, "scale"),
        ({"scale": {"type": "categorical", "choices": [{"label": "a"}, {"label": "a"}]}}, "scale/choices/1/label"),
        ({"repeats": 0}, "repeats"),
        ({"repeats": 10}, "repeats"),
        ({"repeats": 2}, "repeats"),
        ({"repeats": 2, "scale": TONES}, "repeats"),
        ({"aggregate": "mean"}, "aggregate"),
        ({"aggregate": "majority", "scale": STARS}, "aggregate"),
        ({"threshold": 0.5}, "threshold"),
        ({"threshold": 6, "scale": STARS}, "threshold"),
        ({"parameters": {"temperature": 9}}, "parameters/temperature"),
        ({"parameters": {"n": 3}}, "parameters"),
        ({"unknown": 1}, ""),
    ],
)
def test_a_configuration_that_is_not_right_is_named(config, where):
    assert problems(**{"scale": YES_OR_NO, **config}) == {where}


def test_how_scores_are_compared_goes_by_the_scale():
    judge = evaluators()["llm_judge"]
    types = [judge.score_type_of({"scale": scale}) for scale in (YES_OR_NO, STARS, TONES)]
    assert types == ["boolean", "numeric", "categorical"]


@pytest.mark.parametrize(
    ("as_first", "as_second", "label", "score"),
    [
        ("first", "second", "win", 1),
        ("second", "first", "loss", 0),
        ("tie", "tie", "tie", 0.5),
        ("first", "first", "tie", 0.5),
        ("second", "second", "tie", 0.5),
        ("first", "tie", "tie", 0.5),
        ("tie", "first", "tie", 0.5),
    ],
)
def test_what_wins_in_one_order_only_is_a_tie(judge, upstream, as_first, as_second, label, score):
    says(upstream, as_first, as_second)
    found = judge("candidate", kind="pairwise_judge", context={"other_output": "baseline"})
    assert (found.label, found.score, found.passed) == (label, score, None)
    assert (found.cost_usd, len(found.execution_ids)) == (2 * ONE_CALL, 2)
    assert [found.details[key]["verdict"] for key in ("as_first", "as_second")] == [as_first, as_second]
    assert [material_of(request) for request in upstream.requests] == [
        {"input": None, "first": "candidate", "second": "baseline"},
        {"input": None, "first": "baseline", "second": "candidate"},
    ]


def material_of(request):
    return orjson.loads(request.body["messages"][1]["content"].splitlines()[1])


@pytest.mark.parametrize("favourite", ["first", "second"])
def test_a_judge_that_only_looks_at_the_place_never_says_win(judge, upstream, favourite):
    upstream.answer_always(Behaviour(text=orjson.dumps({"reason": "", "verdict": favourite}).decode()))
    for number in range(5):
        found = judge(f"answer {number}", kind="pairwise_judge", context={"other_output": "baseline"})
        assert found.label == "tie"


def test_the_same_answer_twice_is_a_tie_that_nobody_is_asked_about(judge, upstream):
    found = judge({"a": 1}, kind="pairwise_judge", context={"other_output": {"a": 1.0}})
    assert (found.label, found.cost_usd, upstream.request_count) == ("tie", None, 0)


def test_the_offline_model_can_judge(judge, make_model):
    echo = make_model("echo", kind="echo", input_price_usd=None, output_price_usd=None)
    found = judge("Hi", scale=YES_OR_NO, model_id=str(echo.id))
    assert found.score in {0, 1}
    assert found.cost_usd == 0
