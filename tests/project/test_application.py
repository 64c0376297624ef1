import pytest
from django.test import RequestFactory
from django.urls import Resolver404, resolve

from everquant.application import LONGEST_PATH, Application, _match

ID = "01a2097b-19a6-7685-9088-d6a10d2aae24"


@pytest.fixture
def resolved():
    application = Application()

    def resolve_request(path):
        request = RequestFactory().get(path)
        match = application.resolve_request(request)
        assert request.resolver_match is match
        return match

    return resolve_request


@pytest.mark.parametrize("path", [f"/api/v1/prompts/{ID}", "/api/v1/prompts", "/healthz", "/admin/login/"])
def test_a_path_leads_where_django_leads_it_however_often(resolved, path):
    for _ in range(2):
        found, expected = resolved(path), resolve(path)
        assert (found.func, found.args, found.kwargs, found.route) == (
            expected.func, expected.args, expected.kwargs, expected.route,
        )  # fmt: skip


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api/v1/prompts/1"])
def test_a_path_that_leads_nowhere_does_so_again_and_is_not_kept(resolved, path):
    kept = _match.cache_info().currsize
    for _ in range(2):
        with pytest.raises(Resolver404):
            resolved(path)
    assert _match.cache_info().currsize == kept


def test_a_long_path_is_not_kept(resolved):
    kept = _match.cache_info().currsize
    assert resolved(f"/api/v1/prompts/by-slug/{'x' * LONGEST_PATH}").kwargs == {"slug": "x" * LONGEST_PATH}
    assert _match.cache_info().currsize == kept
