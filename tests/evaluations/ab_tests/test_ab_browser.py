"""The page of an A/B test in a real browser: its plot and its figures, light and dark, wide and narrow."""

import pytest
from django.utils import timezone

from tests.chromium import SHAPE_CONTRAST, TEXT_CONTRAST
from tests.evaluations.ab_tests.test_ab_admin import fill

pytestmark = pytest.mark.django_db(transaction=True)
TEXTS = (
    ".wf-page h2", ".wf-muted", ".wf-facts dt", ".wf-facts dd", ".wf-table th", ".wf-table td", ".ab-conclusion",
    ".ab-history li", ".wf-button",
)  # fmt: skip


@pytest.fixture
def test(prompt, make_ab_test):
    found = make_ab_test(
        prompt,
        ["Dear {{name}},", "{{name}}!"],
        paused_at=timezone.now(),
        pause_reason="Night",
        hypothesis="A-name-without-an-end-" * 20,
        guardrails=[{"name": "errors", "measure": "error_rate", "margin": 0.05, "is_relative": False}],
    )
    found.variants.filter(position=2).update(name="a-candidate-with-a-very-long-name")
    return fill(found, 200, 320, 330)


def show(page, test, *, width, is_dark=False):
    page.look(width=width, is_dark=is_dark)
    page.open(f"/admin/prompts/abtest/{test.pk}/change/")


@pytest.mark.parametrize("is_dark", [False, True])
def test_it_is_readable(page, test, is_dark):
    for width in (1400, 375):
        show(page, test, width=width, is_dark=is_dark)
        assert page.run("document.documentElement.classList.contains('dark')") is is_dark
        for selector in TEXTS:
            assert min(page.contrasts(selector)) >= TEXT_CONTRAST, selector
        assert min(page.contrasts(".ab-text, .ab-name", "fill")) >= TEXT_CONTRAST
        assert min(page.contrasts(".ab-line, .ab-zero", "stroke")) >= SHAPE_CONTRAST
        assert page.wider_than_the_window() == []


@pytest.mark.parametrize("width", [1400, 375])
def test_the_plot_has_its_words_inside(page, test, width):
    show(page, test, width=width)
    assert page.outside(".ab-text, .ab-name, .ab-dot, .ab-zero", ".ab-plot") == []
    drawn = page.run("[...document.querySelectorAll('.ab-line')].map((each) => each.getBoundingClientRect().width)")
    assert len(drawn) == 2
    assert min(drawn) > 100
    names = page.run(
        "[...document.querySelectorAll('.ab-name')].map((each) => [each.firstElementChild.textContent,"
        " each.getBoundingClientRect().top, each.getBoundingClientRect().bottom])"
    )
    assert {name for name, _, _ in names} == {"candidate-1", "a-candidate-with-a-very-long-name"}
    (_, _, bottom), (_, top, _) = sorted(names, key=lambda each: each[1])
    assert top >= bottom - 3


def test_a_narrow_window_scrolls_the_plot_and_not_the_page(page, test):
    show(page, test, width=375)
    wide = page.run(
        "(({scrollWidth, clientWidth}) => [scrollWidth, clientWidth])(document.querySelector('.ab-canvas'))"
    )
    assert wide[0] > wide[1]


def test_a_button_leads_to_its_form_and_back(page, test):
    show(page, test, width=1400)
    page.follow(lambda page: page.get_by_role("link", name="Stop").click())
    page.do(lambda page: page.get_by_label("Reason").fill("Enough was seen"))
    page.follow(lambda page: page.get_by_role("button", name="Stop").click())
    assert "Enough was seen" in page.run("document.querySelector('.ab-history').textContent")
    test.refresh_from_db()
    assert test.status == "stopped"
