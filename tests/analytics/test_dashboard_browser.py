"""The dashboard in a real browser: drawn without scripts and other hosts, readable light and dark, wide and narrow."""

from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise, product
from urllib.parse import urlsplit

import pytest
from django.templatetags.static import static
from django.utils import timezone

from apps.analytics.dashboard import charts, writing
from apps.analytics.dashboard.periods import PERIODS
from apps.users.models import User
from tests.analytics.present import add_worker, make_ab_test, make_alert, make_budget, make_traffic
from tests.chromium import EMAIL, PASSWORD, SHAPE_CONTRAST, TEXT_CONTRAST

LONG = "a-budget-with-a-name-that-knows-no-end-" * 4
TEXTS = (".wf-page h2", ".wf-muted", ".db-value", ".db-change", ".db-tiles dt", ".wf-table td", ".wf-table thead th")
LEVELS = '.db-mark[x="-8"]'
# Of each chart the sides of its plot, and its marks from the top down and from left to right.
CHARTS = """
[...document.querySelectorAll('.db-chart')].map((chart) => {
  const boxes = (selector, side) => [...chart.querySelectorAll(selector)].filter((each) => each.checkVisibility())
    .map((each) => each.getBoundingClientRect().toJSON()).sort((a, b) => a[side] - b[side]);
  const {left, right} = chart.querySelector('.db-base').getBoundingClientRect();
  return {name: chart.getAttribute('aria-label'), left, right, drawn: boxes('.db-bar, .db-line', 'left').length,
    levels: boxes('.db-mark[x="-8"]', 'top'), times: boxes('.db-mark[y="100%"]', 'left')};
})
"""

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def busy(admin):
    world, made = make_traffic(admin, count=160, hours=46)
    make_budget(admin, LONG, limit_usd=3)
    make_alert(admin, "Too many errors")
    make_ab_test(admin, world, "Shorter?", planned_units=400)
    return made


def show(page, *, width, is_dark=False, query=""):
    page.look(width=width, is_dark=is_dark)
    page.open(f"/admin/{query}")


def drawn_within(page):
    """How much is drawn in charts, none of it outside of its chart, and no mark on another."""
    for shapes in (".db-bar", ".db-line", ".db-dot", ".db-mark"):
        assert page.outside(shapes, ".db-chart") == [], shapes
    found = page.run(CHARTS)
    for each in found:
        levels, times = each["levels"], each["times"]
        assert each["right"] - each["left"] > 150, each["name"]
        assert all(mark["right"] < each["left"] for mark in levels), each["name"]
        assert all(upper["bottom"] <= lower["top"] + 4 for upper, lower in pairwise(levels)), each["name"]
        assert all(one["right"] < other["left"] for one, other in pairwise(times)), each["name"]
    return [each["drawn"] for each in found]


@pytest.mark.parametrize("is_dark", [False, True])
def test_it_is_readable(page, busy, is_dark):
    for width in (1400, 375):
        show(page, width=width, is_dark=is_dark)
        assert page.run("document.documentElement.classList.contains('dark')") is is_dark
        for selector in TEXTS:
            assert min(page.contrasts(selector)) >= TEXT_CONTRAST, selector
        assert min(page.contrasts(".db-mark", "fill")) >= TEXT_CONTRAST
        for kind in ("good", "bad", "cost"):
            assert min(page.contrasts(f".db-bar.db-{kind}", "fill")) >= SHAPE_CONTRAST, kind
        for share in ("p50", "p95", "p99"):
            assert min(page.contrasts(f".db-line.db-{share}", "stroke")) >= SHAPE_CONTRAST, share


def test_nothing_sticks_out(page, busy):
    for width in (1400, 1000, 375):
        show(page, width=width)
        assert page.wider_than_the_window() == []


def test_charts_are_drawn_within_their_panels(page, busy):
    for width, query in product((1400, 375), ("", "?range=7d")):
        show(page, width=width, query=query)
        assert page.run("document.querySelectorAll('.wf-panel .db-chart').length") == 4
        assert all(drawn_within(page))


@pytest.mark.parametrize(("cost", "marks"), [("0", ["$0", "$0.50", "$1"]), ("0.0000031", None)])
def test_marks_of_little_money_have_room(page, admin, cost, marks):
    make_traffic(admin, count=20, cost_usd=Decimal(cost), price={})
    for width in (1400, 375):
        show(page, width=width)
        drawn = drawn_within(page)
        assert bool(drawn[2]) is bool(Decimal(cost))
        found = page.run(
            f"[...document.querySelectorAll('.db-chart')[2].querySelectorAll('{LEVELS}')].map(e => e.textContent)"
        )
        assert len(found) > 2
        assert found[0] == "$0"
        assert found == (marks or found)


def test_marks_have_room_at_any_hour(page):
    """Of all ranges, with values from the smallest to the greatest."""
    drawn = [chart for period in PERIODS.values() for hour in range(0, 24, 3) for chart in charts_at(period, hour)]
    page.open("/admin/login/")
    page.run(
        "async ([sheets, content]) => { document.body.innerHTML = content; await Promise.all(sheets.map((href) => new"
        " Promise((done, fail) => { const link = document.createElement('link'); Object.assign(link,"
        " {rel: 'stylesheet', href, onload: done, onerror: fail}); document.head.append(link); }))); }",
        [
            [static("workflows/admin.css"), static("analytics/dashboard.css")],
            '<div class="wf-page db-columns"><p class="wf-panel">'
            + '</p><p class="wf-panel">'.join(drawn)
            + "</p></div>",
        ],
    )
    for width in (1400, 375):
        page.look(width=width)
        assert len(drawn_within(page)) == len(drawn)


def charts_at(period, hour):
    starts = period.starts(datetime(2026, 11, 23, hour, 30, tzinfo=UTC))
    axis = charts.Axis(starts, [""] * (len(starts) - 1))
    values = charts.Series("", "db-cost", [10.0 ** (hour - 11)] * len(axis.said))
    named = {"title": f"{period.name} at {hour}", "write": writing.short_dollars}
    return [charts.bars(axis, [values], **named), charts.lines(axis, [values], **named)]


def test_a_bar_is_as_high_as_its_number(page, busy):
    show(page, width=1400)
    heights = page.run("[...document.querySelectorAll('.db-cost.db-bar')].map(e => e.getBoundingClientRect().height)")
    costs = page.run(
        "[...document.querySelectorAll('details')[2].querySelectorAll('tbody td:nth-child(2)')].map(e => e.textContent)"
    )
    amounts = [float(cost.removeprefix("$").replace(",", "")) for cost in costs]
    spent = [amount for amount in amounts if amount]
    assert len(spent) == len(heights)
    assert heights == pytest.approx([max(heights) * amount / max(spent) for amount in spent], abs=1.5)


def test_it_needs_no_script(page, busy):
    show(page, width=1400)
    sent = page.run("fetch('/admin/').then(answer => answer.text())")
    drawn = page.run("document.querySelectorAll('.db-bar').length")
    assert drawn > 20
    assert sent.count('class="db-bar ') == drawn


def test_it_comes_after_the_login_and_asks_no_other_host(visitor, busy):
    User.objects.create_superuser(EMAIL, PASSWORD)
    asked = []
    visitor.do(lambda page: page.on("request", lambda request: asked.append(request.url)))
    visitor.open("/admin/")
    visitor.do(lambda page: page.fill("[name=username]", EMAIL))
    visitor.do(lambda page: page.fill("[name=password]", PASSWORD))
    visitor.follow(lambda page: page.press("[name=password]", "Enter"))
    assert visitor.run("location.pathname") == "/admin/"
    assert visitor.run("document.querySelectorAll('.db-chart').length") == 4
    assert any(url.endswith("dashboard.css") for url in asked)
    assert {urlsplit(url).netloc for url in asked if not url.startswith("data:")} == {urlsplit(visitor.base).netloc}


def test_ranges_organizations_and_numbers_are_a_click_away(page, busy, admin, outsider):
    show(page, width=1400)
    page.follow(lambda page: page.get_by_role("link", name="7 days").click())
    assert page.run("location.search") == "?range=7d"
    assert page.run("document.querySelector('.db-ranges [aria-current]').textContent") == "7 days"
    choose(page, outsider.organization)
    assert page.run("location.search") == f"?range=7d&organization={outsider.organization.pk}"
    assert page.run("document.querySelectorAll('.db-chart').length") == 0
    choose(page, admin.organization)
    page.do(lambda page: page.get_by_text("Numbers", exact=True).first.click())
    assert page.run("document.querySelector('details table').checkVisibility()")
    assert page.run("document.querySelectorAll('details')[0].querySelectorAll('tbody tr').length") == 28


def choose(page, organization):
    page.do(lambda page: page.get_by_label("Organization").select_option(organization.name) and None)
    page.follow(lambda page: page.get_by_role("button", name="Show").click())


@pytest.mark.parametrize("is_dark", [False, True])
def test_a_new_installation_says_what_to_do(page, is_dark):
    add_worker(timezone.now())
    show(page, width=1000, is_dark=is_dark)
    assert page.run("document.querySelectorAll('.db-steps li').length") == 4
    assert min(page.contrasts(".db-steps b, .db-steps a, .db-steps .wf-muted")) >= TEXT_CONTRAST
    page.follow(lambda page: page.locator(".db-steps a").first.click())
    assert page.run("location.pathname") == "/admin/organizations/organization/"
