"""Browsers ask for an icon with the first page: the one that the page names is there."""

import re

import pytest

pytestmark = pytest.mark.django_db


def test_the_admin_names_an_icon_that_is_there(client):
    page = client.get("/admin/login/").content.decode()
    found = re.search(r'<link rel="icon" href="([^"]+)" type="image/svg\+xml"', page)
    assert found, page[:2000]
    answer = client.get(found[1])
    assert answer.status_code == 200
    assert answer["Content-Type"] == "image/svg+xml"
    assert b"".join(answer).startswith(b"<svg")
