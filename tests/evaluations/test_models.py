"""What the database itself refuses."""

import pytest
from django.db import DatabaseError, transaction

from apps.evaluations.models import DatasetItem, DatasetVersion, EvaluationScore, EvaluatorVersion
from tests.evaluations.conftest import finish

pytestmark = pytest.mark.django_db


def test_versions_and_items_never_change(make_dataset, make_evaluator):
    version = make_dataset(["one"])
    make_evaluator()
    for rows, change in [
        (DatasetVersion.objects.all(), {"item_count": 2}),
        (EvaluatorVersion.objects.all(), {"config": {"trim": False}}),
        (DatasetItem.objects.all(), {"input": "two"}),
    ]:
        with pytest.raises(DatabaseError, match="immutable"), transaction.atomic():
            rows.update(**change)
    assert DatasetItem.objects.of_version(version).get().input == "one"


def test_an_item_belongs_to_the_versions_from_its_beginning_to_its_end(make_dataset):
    first = make_dataset(["one", "two"])
    DatasetItem.objects.filter(position=0).update(until=2)
    second = DatasetVersion.objects.create(
        organization_id=first.organization_id, dataset_id=first.dataset_id, version_number=2, item_count=1
    )
    assert [item.input for item in DatasetItem.objects.of_version(first)] == ["one", "two"]
    assert [item.input for item in DatasetItem.objects.of_version(second)] == ["two"]
    with pytest.raises(DatabaseError, match="immutable"), transaction.atomic():
        DatasetItem.objects.filter(position=0).update(until=None)


def test_an_error_is_never_a_score(make_dataset, make_evaluator, make_evaluation):
    evaluation = make_evaluation(make_dataset(["one", "two"]), [{}], {"same": make_evaluator()})
    finish(evaluation, [[[True]], [["JUDGE_SAID_NOTHING"]]])
    assert list(EvaluationScore.objects.values_list("value", "passed", "error_code")) == [
        (1.0, True, ""),
        (None, None, "JUDGE_SAID_NOTHING"),
    ]
    for change in ({"value": 0.0}, {"passed": False}, {"label": "bad"}):
        with pytest.raises(DatabaseError, match="score_or_error"), transaction.atomic():
            EvaluationScore.objects.exclude(error_code="").update(**change)
