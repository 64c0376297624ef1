"""The pages of evaluations in the admin."""

import pytest
from django.test import Client

from apps.users.models import User
from tests.evaluations.conftest import finish

PAGE = "/admin/evaluations/evaluation/"


@pytest.fixture
def staff(db):
    client = Client()
    client.force_login(User.objects.create_superuser(email="root@ops.example", password="a long password for root"))
    return client


@pytest.fixture
def evaluation(make_dataset, make_evaluator, make_evaluation):
    metrics = {"exact": make_evaluator(), "<b>long</b>": make_evaluator("length")}
    subjects = [{"name": "old"}, {"name": "<i>new</i>"}]
    made = make_evaluation(make_dataset(["a", "b", "c"]), subjects, metrics, name="Nightly")
    return finish(
        made, [[[True, 1], [True, 2]], [[False, 3], "PROVIDER_TIMEOUT"], [["NOTHING_EXPECTED", 4], [True, 5]]]
    )


def test_the_page_shows_what_it_came_to(staff, evaluation):
    page = staff.get(f"{PAGE}{evaluation.id}/change/").content.decode()
    for shown in ('value="100"', "Nightly", "0.500", "PROVIDER_TIMEOUT", "NOTHING_EXPECTED", "baseline", "1 of 3"):
        assert shown in page
    assert "&lt;i&gt;new&lt;/i&gt;" in page
    assert "<i>new</i>" not in page
    assert "<b>long</b>" not in page


def test_the_list_finds_by_name_and_id(staff, evaluation):
    for query in ("", "nightly", str(evaluation.id), str(evaluation.organization_id)):
        assert "Nightly" in staff.get(PAGE, {"q": query}).content.decode()
    assert "Nightly" not in staff.get(PAGE, {"q": "nothing"}).content.decode()


def test_nothing_is_changed_there(staff, evaluation):
    assert staff.post(f"{PAGE}{evaluation.id}/change/", {"name": "x"}).status_code == 403
    assert staff.get(f"{PAGE}not-an-id/change/").status_code == 404
    assert staff.get(f"{PAGE}add/").status_code == 403


def test_one_that_was_not_begun_has_a_page(staff, make_dataset, make_evaluator, make_evaluation):
    made = make_evaluation(make_dataset(["a"]), [{}], {"exact": make_evaluator()})
    assert staff.get(f"{PAGE}{made.id}/change/").status_code == 200
