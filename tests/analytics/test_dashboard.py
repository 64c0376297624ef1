"""The page after the login: what it shows, to whom, with how many queries; and what is drawn on it."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html import unescape
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from procrastinate.contrib.django import app

from apps.analytics.dashboard import charts, writing
from apps.analytics.dashboard.periods import PERIODS, interval_title
from apps.evaluations.models import ABArm
from apps.executions.budgets.services import start_spend
from apps.executions.models import Execution, Status
from apps.models.models import LLMModel
from apps.prompts.models import ABTest, Prompt
from apps.users.models import Membership, User
from tests.analytics.making import make_executions, make_world
from tests.analytics.present import add_worker, make_ab_test, make_alert, make_budget, make_traffic
from tests.conftest import make_organization

EVIL = "<script>alert(1)</script>"
PAGE = "/admin/"
# With one organization and traffic: session, user, organizations, figures, four of top prompts and models with their
# two of names, what is running.
QUERIES = 17
QUERIES_EMPTY = 15


def sign_in_to_admin(user):
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def operator(db):
    return sign_in_to_admin(User.objects.create_superuser("op@example.com", "correct horse battery"))


@pytest.fixture
def staff(admin):
    """A member of Acme who may sign in to the admin, and look at nothing there."""
    User.objects.filter(pk=admin.user.pk).update(is_staff=True)
    return sign_in_to_admin(User.objects.get(pk=admin.user.pk))


def words(response):
    """What is read on the page, without marks and scripts."""
    page = re.sub(r"(?s)<(script|style|nav|svg)\b.*?</\1>", " ", response.content.decode())
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", page)))


def tiles(response):
    pairs = re.findall(r'(?s)<dt>([^<]+)</dt>\s*<dd class="db-value">([^<]+)</dd>', response.content.decode())
    return {name: unescape(value).replace("\xa0", " ") for name, value in pairs}


@pytest.mark.django_db
class TestPage:
    def test_figures_are_those_of_the_executions(self, operator, admin):
        _, made = make_traffic(admin)
        response = operator.get(PAGE)
        assert response.status_code == 200
        failed = sum(each.status == Status.FAILED for each in made)
        finished = sum(each.status != Status.CANCELLED for each in made)
        cost = sum((each.cost_usd or Decimal(0) for each in made), start=Decimal(0))
        shown = tiles(response)
        assert list(shown) == ["Requests", "Error rate", "Cost", "Latency p50", "Latency p95", "Latency p99"]
        assert shown["Requests"] == str(len(made))
        assert float(shown["Error rate"].split()[0]) == pytest.approx(100 * failed / finished, rel=0.01)
        assert shown["Cost"] == f"${cost:,.2f}"
        assert f"{failed} failed" in words(response)
        unpriced = sum(each.cost_usd is None and not each.is_cached for each in made)
        assert unpriced
        assert f"{unpriced} at an unknown price" in words(response)

    def test_steps_add_up_to_the_tiles(self, operator, admin):
        make_traffic(admin)
        panels = operator.get(PAGE).context["panels"]
        assert [panel["title"] for panel in panels] == ["Requests", "Error rate", "Cost", "Latency"]
        assert sum(int(said) for _, row in panels[0]["rows"] for said in row) == 60
        assert len(panels[0]["rows"]) == 24

    def test_the_top_are_named_and_counted(self, operator, admin):
        world, made = make_traffic(admin)
        response = operator.get(PAGE)
        for dimension, objects in (("prompt", world.prompts), ("model", world.models)):
            rows = {row["name"]: row for row in response.context[f"{dimension}s"]}
            for each in objects:
                mine = [one for one in made if getattr(one, f"{dimension}_id") == each.pk]
                assert rows[each.slug]["requests"] == str(len(mine))
                assert str(each.pk) in rows[each.slug]["link"]
        assert rows[world.models[0].slug]["organization"] == "Acme"
        none = next(row for row in response.context["prompts"] if row["name"] == "none")
        assert none["link"] == ""

    def test_changes_are_against_as_much_time_before(self, operator, admin):
        world = make_world(admin)
        now, day = timezone.now(), timedelta(days=1)
        half = timedelta(hours=6)
        make_executions(admin, world, count=30, start=now - half, length=half, seed=1)
        make_executions(admin, world, count=20, start=now - day - half - timedelta(minutes=30), length=half, seed=2)
        # Of the same day as those before, but later than now is today.
        make_executions(
            admin, world, count=5, start=now - day + timedelta(minutes=1), length=timedelta(seconds=9), seed=3
        )
        figures = operator.get(PAGE).context["tiles"]
        assert figures[0]["value"] in {"30", "35"}  # those five may lie in the first hour that is shown
        assert figures[0]["change"].replace("\xa0", " ") in {"+50 %", "+75 %"}

    @pytest.mark.parametrize(("name", "days", "count"), [("24h", 0, 24), ("7d", 3, 28), ("30d", 20, 30)])
    def test_ranges_reach_as_far_as_they_say(self, operator, admin, name, days, count):
        make_traffic(admin, count=10, hours=24 * days + 10, latency_ms=700)
        response = operator.get(PAGE, {"range": name})
        assert int(tiles(response)["Requests"]) >= (1 if days else 5)
        panel = response.context["panels"][0]
        assert len(panel["rows"]) == count
        assert f'range={name}" aria-current="true"' in response.content.decode()

    def test_an_old_execution_is_only_in_the_longer_range(self, operator, admin):
        world = make_world(admin)
        moment = timezone.now() - timedelta(days=5)
        make_executions(admin, world, count=3, start=moment, length=timedelta(minutes=1))
        assert "Nothing was executed in the last 24 hours" in words(operator.get(PAGE))
        assert tiles(operator.get(PAGE, {"range": "7d"}))["Requests"] == "3"

    @pytest.mark.parametrize(
        "asked", [{"range": "1y"}, {"range": "24h\x00"}, {"organization": "1"}, {"organization": "\x00"}]
    )
    def test_what_is_not_offered_is_not_found(self, operator, organization, asked):
        assert operator.get(PAGE, asked).status_code == 404

    def test_names_are_text(self, operator, admin):
        make_traffic(admin)
        make_budget(admin, EVIL)
        Prompt.objects.filter(pk=Prompt.objects.all()[0].pk).update(slug=EVIL)
        page = operator.get(PAGE).content.decode()
        assert "&lt;script&gt;alert(1)" in page
        assert EVIL not in page

    def test_nothing_comes_from_elsewhere(self, operator, admin):
        make_traffic(admin)
        page = operator.get(PAGE).content.decode().replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.findall(r"""(?:src|href)=["']?(?:https?:)?//[^"' >]+""", page)

    def test_queries_are_counted(self, operator, admin, django_assert_num_queries):
        make_traffic(admin)
        with django_assert_num_queries(QUERIES):
            operator.get(PAGE)

    def test_more_rows_need_no_more_queries(self, operator, admin, django_assert_num_queries):
        world, _ = make_traffic(admin, count=200)
        for prompt in world.prompts:
            make_budget(admin, prompt.slug, scope="prompt", scope_id=prompt.pk)
        make_ab_test(admin, world, "One")
        with django_assert_num_queries(QUERIES):
            operator.get(PAGE, {"organization": str(admin.organization.pk)})

    def test_it_needs_no_redis(self, operator, admin, redis_away):
        make_traffic(admin)
        assert tiles(operator.get(PAGE))["Requests"] == "60"


@pytest.mark.django_db
class TestFirstSteps:
    def test_a_new_installation_is_told_what_to_do(self, operator, django_assert_num_queries):
        with django_assert_num_queries(QUERIES_EMPTY):
            response = operator.get(PAGE)
        steps = response.context["steps"]
        assert [step.is_done for step in steps] == [False] * 4
        assert steps[0].link == "/admin/organizations/organization/"
        assert "What to do first" in words(response)
        assert tiles(response) == {}

    def test_what_is_there_is_done(self, operator, admin):
        make_world(admin)
        assert [step.is_done for step in operator.get(PAGE).context["steps"]] == [True, True, True, False]

    def test_it_goes_with_the_first_execution(self, operator, admin):
        make_traffic(admin, count=1)
        assert operator.get(PAGE).context["steps"] == []

    def test_links_are_for_those_who_may_follow_them(self, staff):
        assert [step.link for step in staff.get(PAGE).context["steps"]] == [""] * 4

    def test_the_address_of_the_api_is_one(self, staff, admin):
        world = make_world(admin)
        about = staff.get(PAGE).context["steps"][-1].about
        path = re.search(r"POST (\S+)\.", about).group(1).replace("{slug}", world.prompts[0].slug)
        assert admin.client.post(path, {"variables": {}}).status_code in {200, 201}


@pytest.mark.django_db
class TestWhoSees:
    def test_the_page_is_for_people_of_the_staff(self, admin, anonymous):
        assert Client().get(PAGE).status_code == 302
        assert sign_in_to_admin(admin.user).get(PAGE).status_code == 302
        assert admin.client.get(PAGE).status_code == 302

    def test_operators_see_all_or_the_one_they_choose(self, operator, admin, outsider):
        make_traffic(admin, count=7)
        make_traffic(outsider, count=5, seed=2)
        assert tiles(operator.get(PAGE))["Requests"] == "12"
        for person, count in ((admin, "7"), (outsider, "5")):
            page = operator.get(PAGE, {"organization": str(person.organization.pk)})
            assert tiles(page)["Requests"] == count
            assert {row["organization"] for row in page.context["models"]} == {person.organization.name}

    def test_members_see_their_organization_alone(self, staff, admin, outsider):
        make_traffic(admin, count=7)
        theirs(outsider)
        page = staff.get(PAGE)
        assert tiles(page)["Requests"] == "7"
        assert "theirs" not in page.content.decode().lower().replace("others", "")
        assert "Other" not in words(page)
        assert page.context["work"]["waiting"] == "0"
        assert page.context["budgets"] == page.context["ab_tests"] == []
        assert tiles(staff.get(PAGE, {"organization": str(admin.organization.pk)}))["Requests"] == "7"

    @pytest.mark.parametrize("name", ["24h", "30d"])
    def test_members_do_not_find_another_organization(self, staff, outsider, name):
        theirs(outsider)
        asked = {"organization": str(outsider.organization.pk), "range": name}
        assert staff.get(PAGE, asked).status_code == 404
        assert staff.get(PAGE, {**asked, "organization": "01920000-0000-7000-8000-000000000000"}).status_code == 404

    def test_rights_to_pages_of_the_admin_open_no_other_dashboard(self, staff, admin, outsider):
        admin.user.user_permissions.set(Permission.objects.all())
        theirs(outsider)
        assert "theirs" not in staff.get(PAGE).content.decode()
        assert staff.get(PAGE, {"organization": str(outsider.organization.pk)}).status_code == 404

    @pytest.mark.parametrize("ended", ["membership", "organization"])
    def test_what_has_ended_gives_no_access(self, staff, admin, ended):
        make_traffic(admin, count=7)
        getattr(admin, ended).is_active = False
        getattr(admin, ended).save(update_fields=["is_active"])
        response = staff.get(PAGE)
        assert "You are not a member of an organization" in words(response)
        assert tiles(response) == {}
        assert staff.get(PAGE, {"organization": str(admin.organization.pk)}).status_code == 404

    def test_members_of_several_choose(self, staff, admin, outsider):
        Membership.objects.create(organization=outsider.organization, user=admin.user, role="viewer")
        make_traffic(outsider, count=5)
        page = staff.get(PAGE, {"organization": str(outsider.organization.pk)})
        assert tiles(page)["Requests"] == "5"
        assert [each.name for each in page.context["choice"].offered] == ["Acme", "Other"]
        assert '<option value="">' not in page.content.decode()

    def test_one_of_very_many_can_be_chosen(self, operator):
        for number in range(3):
            make_organization(f"Z{number}")
        last = make_organization("Zz")
        page = operator.get(PAGE, {"organization": str(last.pk)})
        assert page.context["choice"].organization == last

    def test_organizations_lead_to_their_dashboards(self, operator, admin):
        page = operator.get("/admin/organizations/organization/").content.decode()
        assert f"/admin/?organization={admin.organization.pk}" in page


def theirs(person):
    """Something of everything that the page shows, by names that betray it."""
    world, _ = make_traffic(person, count=5, seed=9)
    Prompt.objects.filter(organization=person.organization).update(name="theirs")
    for number, prompt in enumerate(Prompt.objects.filter(organization=person.organization)):
        Prompt.objects.filter(pk=prompt.pk).update(slug=f"theirs-{number}")
    LLMModel.objects.filter(organization=person.organization, slug="large").update(slug="theirs-model")
    make_budget(person, "theirs-budget")
    make_alert(person, "theirs-alert")
    make_ab_test(person, world, "theirs-test")
    make_executions(
        person, world, count=3, start=timezone.now() - timedelta(minutes=2), length=timedelta(minutes=1), seed=10,
        status=Status.QUEUED, finished_at=None, started_at=None, error_code="",
    )  # fmt: skip


@pytest.mark.django_db
class TestState:
    def test_budgets_show_what_is_gone(self, operator, admin):
        world, _ = make_traffic(admin, count=3)
        for number, (name, limit, spent) in enumerate((("near", 10, "8.5"), ("over", 4, "6"), ("calm", 10, "1"))):
            scope = {"scope": "prompt", "scope_id": world.prompts[number].pk}
            budget = make_budget(admin, name, **scope, limit_usd=limit)
            start_spend(budget)
            budget.spends.update(spent_usd=Decimal(spent), reserved_usd=Decimal("0.25"))
        rows = operator.get(PAGE).context["budgets"]
        assert [(row["budget"].name, row["state"]) for row in rows] == [
            ("over", "db-over"), ("near", "db-near"), ("calm", ""),
        ]  # fmt: skip
        assert (rows[0]["width"], rows[0]["spent"], rows[0]["limit"]) == (100.0, "$6.00", "$4.00")
        assert (rows[1]["width"], rows[1]["reserved"]) == (87.5, "$0.25")

    def test_running_tests_have_a_link(self, operator, staff, admin):
        world, _ = make_traffic(admin, count=3)
        test = make_ab_test(admin, world, "Shorter?", planned_units=400)
        ABArm.objects.create(test=test, phase=1, variant="control", units=60, exposures=80)
        ABArm.objects.create(test=test, phase=1, variant="shorter", units=40, exposures=80)
        page = operator.get(PAGE)
        assert "100 of 400 units" in words(page)
        assert f"/admin/prompts/abtest/{test.pk}/change/" in page.content.decode()
        page = staff.get(PAGE)
        assert "100 of 400 units" in words(page)
        assert f"/admin/prompts/abtest/{test.pk}" not in page.content.decode()
        ABTest.objects.update(status="stopped", stopped_at=timezone.now())
        assert operator.get(PAGE).context["ab_tests"] == []

    def test_alerts_that_fire_come_first(self, operator, admin):
        event = make_alert(admin, EVIL, muted_until=timezone.now() + timedelta(hours=1))
        said = words(operator.get(PAGE))
        assert re.search(re.escape(EVIL) + r" ?: Far too many errors Acme, for 4 m \d+ s, muted", said)
        event.resolved_at, event.resolution = timezone.now(), "recovered"
        event.save()
        assert "Far too many errors" not in words(operator.get(PAGE))

    def test_what_waits_and_who_works(self, operator, admin):
        world, _ = make_traffic(admin, count=3)
        start = timezone.now() - timedelta(minutes=5)
        make_executions(
            admin, world, count=4, start=start, length=timedelta(seconds=1), seed=4, status=Status.QUEUED,
            finished_at=None, started_at=None, error_code="",
        )  # fmt: skip
        Execution.objects.filter(status=Status.QUEUED, pk=Execution.objects.filter(status=Status.QUEUED)[0].pk).update(
            status=Status.RUNNING, started_at=start, lease_expires_at=timezone.now()
        )
        work = operator.get(PAGE).context["work"]
        assert (work["waiting"], work["running"], work["workers"]) == ("3", "1", 0)
        assert work["oldest_waits"].startswith("5 m") or work["oldest_waits"].startswith("4 m")

    def test_no_worker_is_said_aloud(self, operator, organization):
        assert "No worker gives a sign of life" in words(operator.get(PAGE))
        add_worker(timezone.now())
        page = words(operator.get(PAGE))
        assert "No worker" not in page
        assert "1 alive" in page

    def test_a_silent_worker_is_none(self, operator, organization):
        add_worker(timezone.now() - timedelta(minutes=3))
        assert "No worker gives a sign of life since 3 m" in words(operator.get(PAGE))

    def test_jobs_are_shown_to_those_who_may_see_them(self, operator, staff):
        app.configure_task("nothing", queue="webhooks", allow_unknown=True).defer()
        page = operator.get(PAGE)
        assert page.context["work"]["jobs"] == [("webhooks", "1")]
        link = re.search(r'href="(/admin/procrastinate/procrastinatejob/\?[^"]+)">1</a>', page.content.decode()).group(
            1
        )
        listed = operator.get(unescape(link))
        assert listed.status_code == 200
        assert listed.context["cl"].result_count == 1
        assert listed.context["cl"].has_active_filters
        assert "Jobs that wait" not in words(staff.get(PAGE))


START = datetime(2026, 11, 1, tzinfo=UTC)


def axis(count):
    starts = [START + number * timedelta(hours=1) for number in range(count + 1)]
    return charts.Axis(starts, [f"step {number}" for number in range(count)])


def shapes(svg, kind):
    root = ET.fromstring(svg)  # noqa: S314 (we wrote it)
    return [each for each in root.iter() if each.get("class", "").startswith(kind)]


def percent(element, name):
    return float(element.get(name).removesuffix("%"))


amounts = st.one_of(st.none(), st.floats(0, 1e12), st.floats(0, 1e-9))


class TestCharts:
    @given(st.lists(st.tuples(amounts, amounts), min_size=1, max_size=60))
    def test_bars_stay_inside_and_have_the_height_of_their_values(self, values):
        series = [
            charts.Series("a", "db-good", [a for a, _ in values]),
            charts.Series("b", "db-bad", [b for _, b in values]),
        ]
        svg = charts.bars(axis(len(values)), series, title="Requests", write=writing.short)
        bars = shapes(svg, "db-bar")
        for bar in bars:
            assert percent(bar, "y") >= -0.01
            assert percent(bar, "y") + percent(bar, "height") <= 100.01
            assert 0 <= percent(bar, "x") < percent(bar, "x") + percent(bar, "width") <= 100.01
        highest = max(sum(part or 0 for part in pair) for pair in values)
        drawn = max(
            (sum(percent(b, "height") for b in bars if b.get("x") == x) for x in {b.get("x") for b in bars}), default=0
        )
        assert drawn >= 40 or highest < 1e-12

    @given(st.lists(amounts, min_size=1, max_size=60))
    def test_lines_stay_inside_and_have_gaps(self, values):
        svg = charts.lines(
            axis(len(values)),
            [charts.Series("p50", "db-p50", values)],
            title="Latency",
            write=writing.short_milliseconds,
        )
        lines = shapes(svg, "db-line")
        for line in lines:
            assert all(-0.01 <= percent(line, name) <= 100.01 for name in ("x1", "x2", "y1", "y2"))
        pairs = sum(a is not None and b is not None for a, b in pairwise(values))
        assert len(lines) == pairs

    def test_a_value_alone_is_a_dot(self):
        svg = charts.lines(axis(3), [charts.Series("p50", "db-p50", [None, 5.0, None])], title="", write=writing.short)
        assert len(shapes(svg, "db-dot")) == 1
        assert shapes(svg, "db-line") == []

    def test_heights_are_in_proportion(self):
        svg = charts.bars(axis(2), [charts.Series("a", "db-good", [10, 5])], title="", write=writing.short)
        first, second = shapes(svg, "db-bar")
        assert percent(first, "height") == pytest.approx(2 * percent(second, "height"), abs=0.01)

    def test_a_logarithmic_scale_is_one(self):
        svg = charts.lines(
            axis(3), [charts.Series("p", "db-p50", [10.0, 100.0, 1000.0])], title="", write=writing.short
        )
        first, second = shapes(svg, "db-line")
        rise = [percent(line, "y1") - percent(line, "y2") for line in (first, second)]
        assert rise[0] > 0
        assert rise[0] == pytest.approx(rise[1], abs=0.01)

    def test_it_says_what_it_is(self):
        svg = charts.bars(
            axis(2), [charts.Series("a", "db-good", [1, 2])], title='Cost of "<x>" & y', write=writing.short
        )
        root = ET.fromstring(svg)  # noqa: S314 (we wrote it)
        assert (root.get("role"), root.get("aria-label")) == ("img", 'Cost of "<x>" & y')
        assert [each.text for each in root.iter("{http://www.w3.org/2000/svg}title")] == ["step 0", "step 1"]

    def test_counts_have_whole_marks(self):
        svg = charts.bars(axis(2), [charts.Series("a", "db-good", [1, 0])], title="", write=writing.short, least=4.0)
        assert [each.text for each in shapes(svg, "db-mark") if each.get("text-anchor") == "end"] == [
            "0",
            "1",
            "2",
            "3",
            "4",
        ]


class TestPeriods:
    @given(
        st.sampled_from(list(PERIODS.values())),
        st.integers(0, 10**9).map(lambda seconds: START + timedelta(seconds=seconds, microseconds=seconds % 7)),
    )
    def test_steps_end_after_now_and_are_compared_with_as_much_time(self, period, now):
        starts = period.starts(now)
        assert starts[-2] <= now < starts[-1]
        assert starts[-1] - starts[0] == period.length
        before, until = period.previous(now)
        assert before < until < starts[0]
        passed = now - starts[0]
        assert timedelta(0) <= passed - (until - before) < timedelta(minutes=15)

    def test_intervals_are_named(self):
        assert interval_title(START, START + timedelta(hours=6)) == "1 Nov 00:00 to 06:00"
        assert interval_title(START, START + timedelta(days=1)) == "1 Nov"


class TestWriting:
    @pytest.mark.parametrize(
        ("write", "value", "said"),
        [
            (writing.count, 999_999, "999,999"),
            (writing.count, 1_234_567, "1.23M"),
            (writing.short, 1500, "1.5k"),
            (writing.short, 0.0, "0"),
            (writing.short, 250.0, "250"),
            (writing.short_dollars, 0.0, "$0"),
            (writing.short_dollars, 0.5, "$0.50"),
            (writing.short_dollars, 2.0, "$2"),
            (writing.short_dollars, 1500.0, "$1.5k"),
            (writing.short_dollars, 0.000002, "$0.000002"),
            (writing.dollars, Decimal("1234.567"), "$1,234.57"),
            (writing.dollars, Decimal("0.5"), "$0.50"),
            (writing.dollars, Decimal("0.00012345"), "$0.000123"),
            (writing.dollars, Decimal(0), "$0.00"),
            (writing.dollars, Decimal(2_500_000), "$2.5M"),
            (writing.milliseconds, 340.0, "340 ms"),
            (writing.milliseconds, 12_500.0, "12.5 s"),
            (writing.milliseconds, 0.4, "< 1 ms"),
            (writing.milliseconds, None, "—"),
            (writing.short_milliseconds, 500.0, "500 ms"),
            (writing.short_milliseconds, 20_000.0, "20 s"),
        ],
        ids=lambda value: getattr(value, "__name__", str(value)),
    )
    def test_amounts(self, write, value, said):
        assert write(value).replace("\xa0", " ") == said

    @pytest.mark.parametrize(
        ("now", "before", "said"),
        [
            (112, 100, "+12 %"), (100, 112, "-11 %"), (103, 100, "+3.0 %"), (100, 100, "no change"), (5, 0, ""),
            (None, 5, ""), (5, None, ""), (5000, 100, "\N{MULTIPLICATION SIGN} 50"), (0, 100, "-100 %"),
        ],
    )  # fmt: skip
    def test_changes(self, now, before, said):
        assert writing.change(now, before).replace("\xa0", " ") == said

    def test_shares_change_by_points(self):
        assert writing.points(0.031, 0.02).replace("\xa0", " ") == "+1.1 pp"
        assert writing.points(0.02, 0.02) == "no change"
        assert writing.points(None, 0.02) == ""
