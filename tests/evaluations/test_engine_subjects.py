"""What becomes of an item's input with each kind of subject."""

import pytest

from apps.evaluations.models import EvaluationCase, EvaluationScore
from apps.executions.models import Execution, Source
from apps.organizations.models import WebhookDelivery, WebhookEndpoint
from apps.prompts.models import PromptVersion
from tests.evaluations.test_engine import inline
from tests.executions.conftest import PROMPTS, stand_in
from tests.upstream import Behaviour
from tests.workflows.conftest import definition, make_version  # noqa: F401 (fixture)

pytestmark = pytest.mark.django_db
NAME = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


def prompt_subject(prompt, **more):
    pinned = PromptVersion.objects.get(prompt_id=prompt["id"], version_number=1)
    return {"kind": "prompt", "prompt_id": prompt["id"], "prompt_version_id": pinned.id, **more}


def outputs(evaluation):
    return list(EvaluationCase.objects.filter(evaluation=evaluation).order_by("id").values_list("output", flat=True))


def errors(evaluation):
    cases = EvaluationCase.objects.filter(evaluation=evaluation).order_by("id")
    return list(cases.values_list("error_code", flat=True))


def test_a_prompts_pinned_version_answers_for_whom_the_evaluation_was_made(
    make_dataset, make_evaluation, drive, model, prompt, editor, upstream
):
    editor.client.patch(f"{PROMPTS}/{prompt['id']}", {"content": "Another, {{name}}!"})
    version = make_dataset([{"input": {"name": "Ada", "more": 1}}])
    evaluation = drive(make_evaluation(version, [prompt_subject(prompt)], {}, created_by_id=editor.user.id))
    assert outputs(evaluation) == ["You said: Hello, Ada!"]
    execution = Execution.objects.get()
    assert (execution.source, execution.version_number, execution.created_by_id) == (
        Source.EVALUATION, 1, editor.user.id,
    )  # fmt: skip
    assert execution.payload.variables == {"name": "Ada"}
    assert (execution.is_background, execution.batch_id, execution.batch_row) == (True, None, 0)


def test_a_conversation_follows_and_anything_else_is_the_input(make_dataset, make_evaluation, drive, model, upstream):
    version = make_dataset([{"input": {"messages": [{"role": "user", "content": "And you?"}]}}])
    talk = inline(model, "Be kind.")
    assert outputs(drive(make_evaluation(version, [talk], {}))) == ["You said: And you?"]
    assert [message["content"] for message in upstream.requests[0].body["messages"]] == ["Be kind.", "And you?"]
    version = make_dataset(["plain", {"input": {"messages": [{"role": "nobody"}]}}])
    evaluation = drive(make_evaluation(version, [inline(model, "It is {{input}}.")], {}))
    assert (outputs(evaluation), errors(evaluation)) == (["You said: It is plain.", None], ["", "INVALID_INPUT"])


def test_what_has_a_schema_is_json(make_dataset, make_evaluation, drive, model, upstream):
    upstream.answer_always(Behaviour(text='{"name": "Ada"}'))
    subject = inline(model, "Who?", response_schema=NAME)
    assert outputs(drive(make_evaluation(make_dataset([{"input": {}}]), [subject], {}))) == [{"name": "Ada"}]


def test_no_fallback_answers_in_place_of_the_model(make_dataset, make_evaluation, drive, model, make_model, upstream):
    stand_in(model, make_model("gpt-4o-mini"))
    upstream.script([Behaviour(status=404, message="no such model")])
    evaluation = drive(make_evaluation(make_dataset([{"input": {}}]), [inline(model, "Hi")], {}))
    assert (outputs(evaluation), upstream.request_count) == ([None], 1)


def test_a_prompt_that_was_switched_off_is_not_called(
    make_dataset, make_evaluation, drive, model, prompt, editor, upstream
):
    editor.client.patch(f"{PROMPTS}/{prompt['id']}", {"is_active": False})
    evaluation = drive(make_evaluation(make_dataset([{"input": {"name": "Ada"}}]), [prompt_subject(prompt)], {}))
    assert (errors(evaluation), upstream.request_count) == (["SUBJECT_UNAVAILABLE"], 0)


def test_another_organizations_model_and_prompt_are_not_called(
    make_dataset, make_evaluation, drive, make_model, prompt, outsider, upstream
):
    theirs = make_model(of=outsider.organization)
    version = make_dataset([{"input": {"name": "Ada"}}])
    evaluation = drive(make_evaluation(version, [inline(theirs, "Hi")], {}))
    assert errors(evaluation) == ["MODEL_UNAVAILABLE"]
    version = make_dataset([{"input": {"name": "Ada"}}], of=outsider.organization)
    evaluation = drive(make_evaluation(version, [prompt_subject(prompt, model_id=theirs.id)], {}))
    assert (errors(evaluation), upstream.request_count) == (["SUBJECT_UNAVAILABLE"], 0)


def test_ends_of_single_calls_are_no_events(make_dataset, make_evaluation, drive, model, organization):
    events = ["execution.completed", "evaluation.completed"]
    hook = WebhookEndpoint(organization=organization, name="hook", url="http://127.0.0.1:9/x", event_types=events)
    hook.set_secret("whsec_x")
    hook.save()
    drive(make_evaluation(make_dataset([{"input": {}}] * 2), [inline(model, "Hi")], {}))
    [told] = WebhookDelivery.objects.all()
    assert (told.event_type, told.payload["data"]["succeeded_count"]) == ("evaluation.completed", 2)


@pytest.mark.django_db(transaction=True)
def test_a_workflows_outputs_are_the_answer(make_dataset, make_evaluator, make_evaluation, drive, make_version):  # noqa: F811 (the fixture)
    said = definition(
        [{"id": "hello", "kind": "template", "config": {"template": "Hello, {{inputs.name}}"}}],
        inputs=NAME,
        outputs={"text": {"$ref": "nodes.hello.output"}},
    )
    published = make_version(said)
    subject = {"kind": "workflow", "workflow_id": published.workflow_id, "workflow_version_id": published.id}
    version = make_dataset([{"input": {"name": "Ada"}, "expected": {"text": "Hello, Ada"}}, {"input": {}}])
    evaluation = drive(make_evaluation(version, [subject], {"same": make_evaluator()}))
    assert (outputs(evaluation), errors(evaluation)) == ([{"text": "Hello, Ada"}, None], ["", "INVALID_INPUT"])
    assert EvaluationScore.objects.get().value == 1
    first = EvaluationCase.objects.order_by("id").first()
    assert first.latency_ms is not None
    assert published.workflow.runs.get(id=first.workflow_run_id).source == "evaluation"
