"""What came of a queue: agreement, files, and labelled datasets."""

import csv
import io

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.evaluations.annotation.labelling import LabelRule, label_of
from apps.evaluations.models import Dataset, DatasetItem, ScoreConfig
from tests.evaluations.annotation.annotating import (
    QUEUES,
    TONES,
    annotate,
    claim,
    config_of,
    fill,
    put,
    store,
)

pytestmark = pytest.mark.django_db
# Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", section C: four observers, twelve units.
PUBLISHED = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]


def read(person, queue, name):
    response = person.client.get(f"{QUEUES}/{queue['id']}/{name}")
    assert response.status_code == 200, response.content
    return response


def agreement(person, queue):
    return {one["name"]: one for one in read(person, queue, "agreement").json()["data"]["score_configs"]}


def stored(make_queue, people, config, table, value=lambda rating: rating):
    """A queue of this one config; a row of the table for each person."""
    queue = make_queue(configs=[config], annotations_per_task=len(table))
    rows = [[None if rating is None else {config.name: value(rating)} for rating in row] for row in table]
    store(queue, people, rows)
    return queue


@pytest.mark.parametrize(("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_is_that_of_the_published_example(make_queue, editor, annotators, organization, level, alpha):
    """By the type of the score config: categories, categories with numbers, numbers."""
    people = [editor, *annotators]
    if level == "interval":
        config = config_of(organization, "rating", "numeric", minimum=1, maximum=5)
        queue = stored(make_queue, people, config, PUBLISHED)
    else:
        # Given in another order than that of their numbers, which is what counts.
        named = [{"label": f"c{n}", "value": n if level == "ordinal" else None} for n in (3, 1, 5, 2, 4)]
        config = config_of(organization, "rating", "categorical", categories=named)
        queue = stored(make_queue, people, config, PUBLISHED, lambda rating: f"c{rating}")
    told = agreement(editor, queue)["rating"]
    assert told["level"] == level
    assert told["alpha"] == pytest.approx(alpha, abs=0.0006)
    assert told["low"] < told["alpha"] <= told["high"]
    assert (told["n_tasks"], told["n_annotations"]) == (11, 40)
    worst = [one["disagreement"] for one in told["most_disagreed"]]
    # 1, 2, 3, 4 by the sixth unit's observers; three of four agree on the third and the eighth
    assert worst == pytest.approx([1, 0.5, 0.5] if level == "nominal" else [5 / 12, 0.125, 0.125])
    assert len(told["pairs"]) == (0 if level == "interval" else 6)


def test_kappa_is_told_for_pairs_with_enough_in_common(make_queue, annotators, configs):
    """7 times both say yes, 3 times only the first, 2 times only the second, and 8 times neither."""
    ann, ben, _ = annotators
    table = [
        [n < 10 for n in range(20)],
        [n < 7 or 10 <= n < 12 for n in range(20)],
        [True if n < 4 else None for n in range(20)],
    ]
    queue = stored(make_queue, annotators, configs[0], table)
    told = agreement(ann, queue)["helpful"]
    assert [pair["n"] for pair in told["pairs"]] == [20]
    # By hand: observed 15/20, expected 10/20 · 9/20 + 10/20 · 11/20 = 1/2.
    pair = told["pairs"][0]
    assert pair["kappa"] == pytest.approx((0.75 - 0.5) / 0.5)
    assert pair["low"] < 0.5 < pair["high"]
    assert set(pair["annotator_ids"]) == {str(ann.user.id), str(ben.user.id)}
    assert [one["disagreement"] for one in told["most_disagreed"]] == [1.0] * 5


def test_without_two_annotations_there_is_no_agreement(make_queue, editor, configs):
    queue = make_queue()
    fill(editor, queue, 1)
    annotate(editor, queue, {"helpful": True, "tone": "kind", "score": 1, "why": "x"})
    told = agreement(editor, queue)
    assert {one["alpha"] for one in told.values()} == {None}
    assert {one["n_tasks"] for one in told.values()} == {0}
    assert {name: one["level"] for name, one in told.items()} == {
        "helpful": "nominal", "tone": "ordinal", "score": "interval", "why": None,
    }  # fmt: skip


def test_what_no_longer_fits_its_config_counts_nowhere(make_queue, annotators, organization):
    config = config_of(organization, "manner", "categorical", categories=TONES)
    queue = stored(make_queue, annotators[:2], config, [["kind", "rude"], ["kind", "kind"]])
    config.categories = TONES[:2]
    config.save()
    told = agreement(annotators[0], queue)["manner"]
    assert (told["n_tasks"], told["n_annotations"]) == (1, 2)
    lines = b"".join(read(annotators[0], queue, "export")).splitlines()
    assert sorted(orjson.loads(line)["values"].get("manner", "") for line in lines) == ["", "kind", "kind", "kind"]


def test_files_have_a_row_for_each_submitted_annotation(make_queue, editor, annotators):
    queue = make_queue(annotations_per_task=2)
    fill(editor, queue, items=[{"input": "=1+1", "output": {"a": [1]}, "expected": None}])
    said = {"helpful": True, "tone": "kind", "score": 2.5, "why": "+ because"}
    for person in annotators[:2]:
        put(person, claim(person, queue), said, '=HYPERLINK("x")')
    claim(annotators[2], queue)
    lines = [orjson.loads(line) for line in b"".join(read(editor, queue, "export")).splitlines()]
    assert [line["annotator"] for line in lines] == ["ann@acme.example", "ben@acme.example"]
    assert lines[0]["values"] == said
    assert (lines[0]["input"], lines[0]["output"], lines[0]["expected"]) == ("=1+1", {"a": [1]}, None)
    response = read(editor, queue, "export?format=csv")
    assert response["Content-Type"] == "text/csv"
    assert "attachment" in response["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(b"".join(response).decode())))
    assert len(rows) == 2
    row = rows[0]
    assert (row["values.helpful"], row["values.score"], row["values.why"]) == ("true", "2.5", "'+ because")
    assert (row["input"], row["output"], row["comment"]) == ("'=1+1", '{"a":[1]}', '\'=HYPERLINK("x")')
    assert row["task_id"] == lines[0]["task_id"]
    assert editor.client.get(f"{QUEUES}/{queue['id']}/export?format=xml").status_code == 400


def test_long_files_are_read_in_blocks(make_queue, editor, configs):
    queue = stored(make_queue, [editor], configs[0], [[True] * 450])
    lines = b"".join(read(editor, queue, "export")).splitlines()
    assert len({orjson.loads(line)["annotation_id"] for line in lines}) == len(lines) == 450


@pytest.fixture
def judged(make_queue, annotators):
    """Four tasks by three people, the last one by one of them only."""
    queue = make_queue(annotations_per_task=3)
    table = [
        [(True, "kind", 5), (True, "rude", 4), (True, "kind", 2), None],
        [(True, "kind", 5), (False, "kind", 4), (True, "plain", 3), None],
        [(True, "kind", 2), (True, "plain", 3), (True, "rude", 1), (False, "rude", 1)],
    ]
    names = ("helpful", "tone", "score")
    store(queue, annotators, [[said and dict(zip(names, said, strict=True)) for said in row] for row in table])
    return queue


def make_dataset(person, queue, status=201, **body):
    response = person.client.post(f"{QUEUES}/{queue['id']}/dataset", body)
    assert response.status_code == status, response.content
    return response.json()["data" if status == 201 else "error"]


def test_a_labelled_dataset_is_made(judged, editor):
    told = make_dataset(editor, judged, slug="labelled", name="Labelled")
    assert (told["version"], told["item_count"], told["unlabelled_count"]) == (1, 4, 0)
    dataset = Dataset.objects.get(slug="labelled")
    assert (str(dataset.id), dataset.current_version.item_count) == (told["dataset_id"], 4)
    items = list(DatasetItem.objects.filter(dataset=dataset).order_by("position"))
    assert [item.input for item in items] == [{"n": n} for n in range(4)]
    assert all(item.has_output and item.output.startswith("It is") and not item.has_expected for item in items)
    # kind, kind, kind · rude, kind, plain (no majority) · kind, plain, rude (none) · rude
    labels = [item.metadata for item in items]
    assert labels[0] == {"label": True, "helpful": True, "tone": "kind", "score": 5}
    assert labels[1] == {"label": True, "helpful": True, "score": 4}
    assert labels[2] == {"label": True, "helpful": True}
    assert labels[3] == {"label": False, "helpful": False, "tone": "rude", "score": 1}
    again = make_dataset(editor, judged, dataset_id=told["dataset_id"], label="mean")
    assert (again["version"], again["item_count"]) == (2, 4)
    newest = DatasetItem.objects.filter(dataset=dataset, since=2).order_by("position")
    assert [item.metadata["score"] for item in newest] == [4, pytest.approx(11 / 3), 2, 1]


def test_labels_need_as_much_agreement_as_is_asked_for(judged, editor):
    told = make_dataset(editor, judged, slug="strict", min_agreement=1)
    items = DatasetItem.objects.filter(dataset_id=told["dataset_id"]).order_by("position")
    assert [item.metadata.get("helpful") for item in items] == [True, True, False]
    assert told["unlabelled_count"] == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "dataset_id"),
        ({"slug": "A b"}, "slug"),
        ({"dataset_id": "01a206c2-204e-7316-854c-aa2881f6c5b4"}, "dataset_id"),
        ({"dataset_id": "01a206c2-204e-7316-854c-aa2881f6c5b4", "slug": "a"}, "dataset_id"),
        ({"dataset_id": "01a206c2-204e-7316-854c-aa2881f6c5b4", "name": "a"}, "name"),
        ({"slug": "a", "label": "best"}, "label"),
        ({"slug": "a", "min_agreement": 1.5}, "min_agreement"),
        ({"slug": "a", "min_agreement": "1"}, "min_agreement"),
        ({"slug": "a", "min_agreement": True}, "min_agreement"),
    ],
    ids=str,
)
def test_what_is_no_dataset_is_refused_at_its_field(judged, editor, body, field):
    assert field in make_dataset(editor, judged, 400, **body)["details"]
    assert Dataset.objects.count() == 0


def test_a_dataset_of_others_is_none(judged, editor, outsider):
    theirs = Dataset.objects.create(organization=outsider.organization, slug="theirs", name="Theirs")
    assert "dataset_id" in make_dataset(editor, judged, 400, dataset_id=str(theirs.id))["details"]
    assert DatasetItem.objects.count() == 0


def test_without_annotations_there_is_no_dataset(make_queue, editor):
    queue = make_queue()
    fill(editor, queue)
    make_dataset(editor, queue, 409, slug="empty")
    assert Dataset.objects.count() == 0


def unsaved(kind):
    return ScoreConfig(name="c", type=kind, categories=[{"label": one} for one in "abc"])


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=7), st.floats(0, 1))
def test_a_majority_is_the_most_frequent_value_with_the_share_asked_for(values, least):
    label = label_of(unsaved("categorical"), values, LabelRule.MAJORITY, least)
    counts = {one: values.count(one) for one in set(values)}
    most = [one for one, count in counts.items() if count == max(counts.values())]
    assert label == (most[0] if len(most) == 1 and counts[most[0]] / len(values) >= least else None)


def test_other_rules():
    assert label_of(unsaved("numeric"), [1, 2, 6], LabelRule.MEAN, 1) == 3
    assert label_of(unsaved("categorical"), ["a", "b", "b"], LabelRule.MEAN, 0) == "b"
    assert label_of(unsaved("categorical"), ["a", "b", "b"], LabelRule.FIRST, 0) == "a"
    assert label_of(unsaved("categorical"), ["a", "b", "b"], LabelRule.FIRST, 0.5) is None
    assert label_of(unsaved("text"), ["so", "no"], LabelRule.MAJORITY, 1) == "so"
    assert label_of(unsaved("text"), [], LabelRule.MAJORITY, 0) is None
