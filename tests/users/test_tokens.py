import pytest

from apps.users.services import start_session

pytestmark = pytest.mark.django_db


def test_start(admin):
    assert admin.client.get("/api/v1/nothing").status_code == 404
