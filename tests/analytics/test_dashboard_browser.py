"""The dashboard in a real browser: drawn without scripts and other hosts, readable light and dark, wide and narrow."""

import os
from itertools import pairwise, product
from urllib.parse import urlsplit

import pytest
from django.utils import timezone

from apps.users.models import User
from tests import chromium
from tests.analytics.present import add_worker, make_ab_test, make_alert, make_budget, make_traffic

PASSWORD = "correct horse battery"
LONG = "a-budget-with-a-name-that-knows-no-end-" * 4
# WCAG 2.2, 1.4.3 (text) and 1.4.11 (what is not text).
TEXT_CONTRAST, SHAPE_CONTRAST = 4.5, 3.0

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        chromium.BINARY is None and not os.environ.get("REQUIRE_CHROMIUM"), reason="there is no Chromium here"
    ),
]

# The contrast of an element's colour, by the formula of WCAG, to what is painted behind it.
CONTRAST = """
(() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = rgba(getComputedStyle(each).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((part) => (part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  return (selector, property) => [...document.querySelectorAll(selector)].map((element) => {
    const pair = [rgba(getComputedStyle(element)[property]), behind(element.parentElement)].map(light);
    return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
  });
})()
"""
TEXTS = (".wf-page h2", ".wf-muted", ".db-value", ".db-change", ".db-tiles dt", ".wf-table td", ".wf-table thead th")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium.Chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def base(live_server):
    return f"http://localhost:{urlsplit(live_server.url).port}"


@pytest.fixture
def page(browser, base):
    """The dashboard, after a login by the form; nothing may have gone wrong on any page meanwhile."""
    User.objects.create_superuser("op@example.com", PASSWORD)
    browser.look(width=1400)
    browser.open(f"{base}/admin/login/?next=/admin/")
    browser.submit(
        "for (const [name, value] of Object.entries({username: 'op@example.com', password: '" + PASSWORD + "'}))"
        " document.querySelector(`[name=${name}]`).value = value;"
        "document.querySelector('form').requestSubmit()"
    )
    browser.complaints.clear()
    yield browser
    assert browser.complaints == []
    browser.command("Network.clearBrowserCookies")


@pytest.fixture
def busy(admin):
    world, made = make_traffic(admin, count=160, hours=46)
    make_budget(admin, LONG, limit_usd=3)
    make_alert(admin, "Too many errors")
    make_ab_test(admin, world, "Shorter?", planned_units=400)
    return made


def show(page, base, *, width, is_dark, query=""):
    page.look(width=width, is_dark=is_dark)
    page.open(f"{base}/admin/{query}")


@pytest.mark.parametrize(("width", "is_dark"), list(product([1400, 390], [False, True])))
def test_it_is_readable(page, base, busy, width, is_dark):
    show(page, base, width=width, is_dark=is_dark)
    assert page.run("document.documentElement.classList.contains('dark')") is is_dark
    for selector in TEXTS:
        found = page.run(f"{CONTRAST}({selector!r}, 'color')")
        assert found, selector
        assert min(found) >= TEXT_CONTRAST, selector
    assert min(page.run(f"{CONTRAST}('.db-mark', 'fill')")) >= TEXT_CONTRAST
    for kind in ("good", "bad", "cost"):
        assert min(page.run(f"{CONTRAST}('.db-bar.db-{kind}', 'fill')")) >= SHAPE_CONTRAST, kind
    for share in ("p50", "p95", "p99"):
        assert min(page.run(f"{CONTRAST}('.db-line.db-{share}', 'stroke')")) >= SHAPE_CONTRAST, share


@pytest.mark.parametrize("width", [1400, 1000, 390])
def test_nothing_sticks_out(page, base, busy, width):
    show(page, base, width=width, is_dark=False)
    assert page.run("document.documentElement.scrollWidth") <= width
    wide = "(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.wf-scroll'))"
    assert page.run(f"[...document.querySelectorAll('.wf-page *')].filter({wide}).map(e => e.outerHTML)") == []


@pytest.mark.parametrize("width", [1400, 390])
def test_charts_are_drawn_within_their_panels(page, base, busy, width):
    show(page, base, width=width, is_dark=False)
    boxes = page.run(
        "[...document.querySelectorAll('.db-chart')].map(chart => {"
        " const box = (e) => { const b = e.getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom]; };"
        " return {chart: box(chart), parts: [...chart.querySelectorAll('.db-bar, .db-line, .db-dot')].map(box),"
        "   marks: [...chart.querySelectorAll('.db-mark')].filter(e => e.checkVisibility()).map(box)}; })"
    )
    assert len(boxes) == 4
    for each in boxes:
        left, top, right, bottom = each["chart"]
        assert right - left > 250
        assert each["parts"]
        for part in [*each["parts"], *each["marks"]]:
            assert left - 1 <= part[0] <= part[2] <= right + 1
            assert top - 1 <= part[1] <= part[3] <= bottom + 1
        below = sorted(mark for mark in each["marks"] if mark[1] > bottom - 30 and mark[0] > left + 60)
        assert all(a[2] < b[0] for a, b in pairwise(below)), "marks lie on each other"


def test_a_bar_is_as_high_as_its_number(page, base, busy):
    show(page, base, width=1400, is_dark=False)
    heights = page.run("[...document.querySelectorAll('.db-cost.db-bar')].map(e => e.getBoundingClientRect().height)")
    costs = page.run(
        "[...document.querySelectorAll('details')[2].querySelectorAll('tbody td:nth-child(2)')].map(e => e.textContent)"
    )
    amounts = [float(cost.removeprefix("$").replace(",", "")) for cost in costs]
    spent = [amount for amount in amounts if amount]
    assert len(spent) == len(heights)
    assert heights == pytest.approx([max(heights) * amount / max(spent) for amount in spent], abs=1.5)


def test_it_asks_no_other_host_and_needs_no_script(page, base, busy):
    show(page, base, width=1400, is_dark=False)
    assert {urlsplit(url).netloc for url in page.addresses() if not url.startswith("data:")} == {urlsplit(base).netloc}
    sent = page.run("fetch('/admin/').then(answer => answer.text())")
    drawn = page.run("document.querySelectorAll('.db-bar').length")
    assert drawn > 20
    assert sent.count('class="db-bar ') == drawn


def test_ranges_organizations_and_numbers_are_a_click_away(page, base, busy, admin, outsider):
    show(page, base, width=1400, is_dark=False)
    page.submit("[...document.querySelectorAll('.db-ranges a')].find(e => e.textContent === '7 days').click()")
    assert page.run("location.search") == "?range=7d"
    assert page.run("document.querySelector('.db-ranges [aria-current]').textContent") == "7 days"
    page.submit(
        f"document.querySelector('#db-organization').value = '{outsider.organization.pk}';"
        "document.querySelector('#db-organization').form.requestSubmit()"
    )
    assert page.run("location.search") == f"?range=7d&organization={outsider.organization.pk}"
    assert page.run("document.querySelectorAll('.db-chart').length") == 0
    page.submit(
        f"document.querySelector('#db-organization').value = '{admin.organization.pk}';"
        "document.querySelector('#db-organization').form.requestSubmit()"
    )
    page.run("document.querySelector('details summary').click()")
    assert page.run("document.querySelector('details table').checkVisibility()")
    assert page.run("document.querySelectorAll('details')[0].querySelectorAll('tbody tr').length") == 28


@pytest.mark.parametrize("is_dark", [False, True])
def test_a_new_installation_says_what_to_do(page, base, is_dark):
    add_worker(timezone.now())
    show(page, base, width=1000, is_dark=is_dark)
    assert page.run("document.querySelectorAll('.db-steps li').length") == 4
    assert min(page.run(f"{CONTRAST}('.db-steps b, .db-steps a, .db-steps .wf-muted', 'color')")) >= TEXT_CONTRAST
    page.submit("document.querySelector('.db-steps a').click()")
    assert page.run("location.pathname") == "/admin/organizations/organization/"
