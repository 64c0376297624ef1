"""The shipped examples: valid, in the form of an export, and run to their end on the echo model, over HTTP."""

import pytest
from django.core.management import CommandError, call_command

from apps.organizations.models import Organization
from apps.prompts.models import Prompt
from apps.users.models import Membership
from apps.workflows.definition.transfer import dump_yaml
from apps.workflows.definition.validation import problems
from apps.workflows.examples import EXAMPLES
from apps.workflows.importing import read_document
from apps.workflows.models import Workflow, WorkflowRun, WorkflowVersion
from tests.organizations.conftest import Answer, Receiver
from tests.workflows.conftest import RUNS, WORKFLOWS, states

SLUGS = ["support/triage", "research/summarize", "marketing/write-and-judge", "operations/approved-refund",
         "support/answer-mail"]  # fmt: skip
by_name = pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)


@by_name
def test_they_are_valid_and_written_as_an_export_is(path):
    document = read_document(path)
    assert problems(document["definition"]) == []
    assert dump_yaml(document) == path.read_text()


def test_every_kind_of_node_that_people_ask_for_first_is_in_them():
    kinds = set()
    for path in EXAMPLES:
        definition = read_document(path)["definition"]
        for node in definition["nodes"]:
            kinds |= {node["kind"], *(inner["kind"] for inner in node["config"].get("body", {}).get("nodes", []))}
    assert kinds >= {"prompt", "llm", "template", "transform", "condition", "map", "loop", "subworkflow", "approval",
                     "http", "join"}  # fmt: skip


@pytest.fixture
def demo(db, settings):
    settings.DEMO_PASSWORD = "examples of workflows"
    call_command("create_demo")
    return Organization.objects.get(slug="demo")


@pytest.fixture
def member(demo, sign_in):
    return sign_in(Membership.objects.get(organization=demo, role="editor"))


@pytest.mark.django_db
def test_the_demo_has_them_published_once_and_exports_them_as_they_are_shipped(demo, member):
    assert list(Workflow.objects.order_by("created_at", "id").values_list("slug", flat=True)) == SLUGS
    assert set(Workflow.objects.values_list("current_version__version_number", flat=True)) == {1}
    call_command("create_demo")
    assert WorkflowVersion.objects.count() == len(SLUGS)
    for slug, path in zip(SLUGS, EXAMPLES, strict=True):
        workflow = Workflow.objects.get(slug=slug)
        assert member.get(f"{WORKFLOWS}/{workflow.pk}/export").content.decode() == path.read_text()


@pytest.mark.django_db
def test_the_command_imports_all_or_nothing(organization, tmp_path, capsys):
    own = tmp_path / "own.yaml"
    own.write_text(EXAMPLES[2].read_text().replace("marketing/write-and-judge", "own"))
    with pytest.raises(CommandError, match="UNKNOWN_PROMPT"):
        call_command("workflows", "import", str(own), str(EXAMPLES[0]), "--organization", "acme", "--publish")
    assert not Workflow.objects.exists()
    call_command("workflows", "import", str(own), "examples", "--organization", "acme")
    said = capsys.readouterr().out.splitlines()
    assert said == [f"{slug}: created, not published" for slug in ["own", *SLUGS]]
    assert set(Workflow.objects.values_list("organization__slug", flat=True)) == {"acme"}
    with pytest.raises(CommandError, match="Another workflow has this slug"):
        call_command("workflows", "import", "examples", "--organization", "acme")
    call_command("workflows", "import", str(own), "--organization", "acme", "--on-conflict", "version")
    assert capsys.readouterr().out == "own: unchanged, not published\n"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "No such file"),
        ("a: [", "line 2"),
        ("a: &b 1\nc: *b\n", "line 1"),
        ("kind: other\n", "definition"),
        ("name: \ud800", "codec"),
    ],
    ids=["missing", "broken", "alias", "other", "no-utf8"],
)
def test_the_command_says_what_is_wrong_with_a_file(organization, tmp_path, text, expected):
    path = tmp_path / "odd.yaml"
    if text is not None:
        path.write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(CommandError, match=expected):
        call_command("workflows", "import", str(path), "--organization", "acme")
    with pytest.raises(CommandError, match="no organization"):
        call_command("workflows", "import", str(path), "--organization", "nobody")
    assert not Workflow.objects.exists()


@pytest.fixture
def run(member, work):
    """A run of an example over HTTP, as far as it comes."""

    def execute(slug, inputs):
        workflow = Workflow.objects.get(slug=slug)
        begun = member.post(f"{WORKFLOWS}/{workflow.pk}/execute", {"inputs": inputs})
        assert begun.status_code == 202, begun.content
        work(WorkflowRun.objects.get(pk=begun.json()["data"]["id"]))
        return member.get(f"{RUNS}/{begun.json()['data']['id']}").json()["data"]

    return execute


def states_of(run):
    return states(WorkflowRun.objects.get(pk=run["id"]))


@pytest.mark.django_db(transaction=True)
def test_triage_answers_by_each_branch_and_hands_over_what_cannot_be_sorted(run, member):
    routes = {}
    for body, route in (("There is a bug", "urgent"), ("About billing", "billing"), ("A feature, please", "other")):
        ended = run("support/triage", {"ticket": {"subject": "S", "body": body}})
        assert ended["status"] == "succeeded", ended
        assert ended["outputs"]["route"] == route
        routes[route] = ended
    assert routes["urgent"]["outputs"]["answer"].startswith("ON CALL: S (urgency 1)")
    assert routes["billing"]["outputs"]["answer"] == "About billing"
    assert states_of(routes["urgent"])["reply"] == "skipped"
    assert routes["billing"]["cost_usd"] is not None
    prompt = Prompt.objects.get(slug="support/classify-ticket")
    assert member.patch(f"/api/v1/prompts/{prompt.pk}", {"is_active": False}).status_code == 200
    unsorted = run("support/triage", {"ticket": {"subject": "S", "body": "A bug"}})
    assert (unsorted["status"], unsorted["outputs"]["route"]) == ("succeeded", "unsorted"), unsorted
    assert unsorted["outputs"]["answer"].startswith("Please read this ticket")


@pytest.mark.django_db(transaction=True)
def test_summaries_and_drafts_are_made(run):
    documents = [{"title": f"Title {number}", "text": f"Text {number}"} for number in range(3)]
    ended = run("research/summarize", {"documents": documents})
    assert ended["status"] == "succeeded", ended
    assert [one["title"] for one in ended["outputs"]["summaries"]] == ["Title 0", "Title 1", "Title 2"]
    assert "Title 2: Title 2\n\nText 2" in ended["outputs"]["summary"]
    empty = run("research/summarize", {"documents": []})
    assert empty["outputs"] == {"summary": "There was no document to summarize.", "summaries": [], "failed": []}
    check_drafts(run)


def check_drafts(run):
    accepted = run("marketing/write-and-judge", {"topic": "Terms that customers accept"})
    assert accepted["status"] == "succeeded", accepted
    assert (accepted["outputs"]["is_accepted"], accepted["outputs"]["passes"]) == (True, 1)
    refused = run("marketing/write-and-judge", {"topic": "A release"})
    assert (refused["outputs"]["is_accepted"], refused["outputs"]["passes"]) == (False, 3)
    assert "Missed before: Write for customers about: A release" in refused["outputs"]["text"]


@pytest.fixture
def shop(demo, settings):
    settings.ALLOW_PRIVATE_WORKFLOW_URLS = True
    receiver = Receiver()
    Organization.objects.filter(pk=demo.pk).update(http_hosts=[f"127.0.0.1:{receiver.port}"])
    yield receiver
    receiver.stop()


@pytest.mark.django_db(transaction=True)
def test_a_large_refund_waits_for_somebody_and_a_small_one_does_not(run, shop, member, work):
    small = run("operations/approved-refund", {"order": "A-1", "amount": 20, "url": shop.url})
    assert (small["status"], small["outputs"]["result"]) == ("succeeded", "The refund for A-1 is booked."), small
    large = run("operations/approved-refund", {"order": "A-2", "amount": 70.5, "url": shop.url})
    assert large["status"] == "waiting", large
    assert len(shop.received) == 1
    answer = {"decision": "approved", "data": {"amount": 60, "note": "ok"}}
    answered = member.post(f"{RUNS}/{large['id']}/resume", answer)
    assert answered.status_code in {200, 202}, answered.content
    work(WorkflowRun.objects.get(pk=large["id"]))
    ended = member.get(f"{RUNS}/{large['id']}").json()["data"]
    assert ended["outputs"] == {"result": "The refund for A-2 is booked.", "approved_by": "editor@example.com"}
    assert b'"amount":60' in shop.received[1].body
    assert shop.received[1].headers["idempotency-key"]
    check_refusals(run, shop, member, work)


def check_refusals(run, shop, member, work):
    refused = run("operations/approved-refund", {"order": "A-3", "amount": 99, "url": shop.url})
    member.post(f"{RUNS}/{refused['id']}/resume", {"decision": "rejected", "comment": "Too much"})
    work(WorkflowRun.objects.get(pk=refused["id"]))
    ended = member.get(f"{RUNS}/{refused['id']}").json()["data"]
    assert ended["outputs"]["result"] == "The refund for A-3 was refused: Too much"
    assert len(shop.received) == 2
    shop.script.append(Answer(status=422))
    failed = run("operations/approved-refund", {"order": "A-4", "amount": 9, "url": shop.url})
    assert failed["outputs"]["result"].startswith("The shop did not take the refund for A-4: ")


@pytest.mark.django_db(transaction=True)
def test_a_mail_is_answered_by_way_of_the_triage(run):
    ended = run("support/answer-mail", {"mail": {"from": "ann@example.com", "subject": "Invoice", "text": "billing?"}})
    assert ended["status"] == "succeeded", ended
    assert ended["outputs"]["route"] == "billing"
    assert ended["outputs"]["mail"].startswith("To: ann@example.com\nSubject: Re: Invoice\n\nbilling?")
    assert "triage.classify" in states_of(ended)
