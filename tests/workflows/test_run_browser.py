"""The page of a run in a real browser: its graph, light and dark, and how it follows a run that goes on."""

import pytest

from tests.chromium import SHAPE_CONTRAST, TEXT_CONTRAST
from tests.workflows.conftest import definition, failing, template, transform

pytestmark = pytest.mark.django_db(transaction=True)
TEXTS = (".wf-page h2", ".wf-muted", ".wf-facts dt", ".wf-facts dd", ".wf-table th", ".wf-table td", ".wf-table code",
         ".wf-label", ".wf-input", ".wf-button", ".wf-link", ".wf-failure", ".wf-json", "summary")  # fmt: skip
BODY = {
    "nodes": [template("write", "{{item}}"), transform("shorten", "@")],
    "edges": [{"from": "write", "to": "shorten"}],
}
ITEMS = {"id": "items", "kind": "map", "name": "Each of them", "config": {"items": [1, 2, 3], "body": BODY}}
GRAPH = definition(
    [
        template("begin", name="A name that is longer than the box it stands in"),
        ITEMS,
        failing("tries", on_error="branch"),
        template("never"),
        failing("fails"),
        template("after"),
    ],
    [
        ("begin", "items"),
        ("items", "tries"),
        ("tries", "never"),
        ("tries", "error", "fails"),
        ("fails", "after"),
    ],
)


def show(page, run, *, width, is_dark=False):
    page.look(width=width, is_dark=is_dark)
    page.open(f"/admin/workflows/workflowrun/{run.pk}/change/")


@pytest.mark.parametrize("is_dark", [False, True])
def test_it_is_readable(page, run_of, is_dark):
    run = run_of(GRAPH)
    for width in (1400, 375):
        show(page, run, width=width, is_dark=is_dark)
        assert page.run("document.documentElement.classList.contains('dark')") is is_dark
        for selector in TEXTS:
            assert min(page.contrasts(selector)) >= TEXT_CONTRAST, selector
        assert min(page.contrasts(".wf-title, .wf-kind, .wf-handle", "fill")) >= TEXT_CONTRAST
        assert min(page.contrasts(".wf-succeeded .wf-disc, .wf-failed .wf-disc", "fill")) >= SHAPE_CONTRAST
        assert page.wider_than_the_window() == []


def test_words_stay_in_their_boxes(page, run_of):
    run = run_of(GRAPH)
    show(page, run, width=1400)
    assert page.run("document.querySelectorAll('.wf-drawing .wf-node').length") == 8
    assert page.outside(".wf-title, .wf-kind, .wf-disc", ".wf-node") == []
    assert page.outside(".wf-node .wf-node > .wf-box", ".wf-drawing") == []
    assert page.outside(".wf-handle, .wf-edge", ".wf-drawing") == []


def test_a_box_leads_to_its_step_whose_values_are_loaded(page, run_of):
    run = run_of(definition([template("begin", "said by the node")]))
    show(page, run, width=1400)
    page.do(lambda page: page.locator(".wf-drawing a").first.click())
    assert page.run("document.querySelector('.wf-steps tbody:target code').textContent") == "begin"
    page.do(lambda page: page.locator("tbody:target summary").click())
    page.do(lambda page: page.locator("tbody:target").get_by_text("said by the node").wait_for())


def test_it_follows_a_run_to_its_end(page, make_version, start, work):
    run = start(make_version(definition([template("begin")])))
    page.do(lambda page: page.clock.install())
    show(page, run, width=1400)
    assert page.run("document.querySelectorAll('.wf-succeeded').length") == 0
    work(run)
    page.follow(lambda page: page.clock.run_for(2000))
    assert page.run("document.querySelector('.wf-drawing .wf-node').getAttribute('class')") == "wf-node wf-succeeded"
    assert page.run("document.querySelector('#run-live').dataset.finished") == "true"
