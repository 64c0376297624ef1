"""Pages of alerts in a real browser: readable light and dark, wide and narrow."""

from datetime import timedelta

import pytest
from django.utils import timezone

from apps.analytics.models import Alert
from tests.analytics.present import make_alert
from tests.chromium import TEXT_CONTRAST

pytestmark = pytest.mark.django_db(transaction=True)
LISTS = ("#result_list th", "#result_list td", "#result_list tbody a")
FORMS = ("fieldset h2", "fieldset label", "fieldset .readonly")


@pytest.fixture
def event(admin):
    event = make_alert(admin, "Too many errors", muted_until=timezone.now() + timedelta(hours=1))
    Alert.objects.filter(pk=event.alert_id).update(filters={"prompt": ["a-prompt-without-end-" * 10]})
    return event


@pytest.mark.parametrize("is_dark", [False, True])
def test_they_are_readable(page, event, is_dark):
    pages = {
        "alert/": LISTS,
        f"alert/{event.alert_id}/change/": FORMS,
        "alertevent/": LISTS,
        f"alertevent/{event.pk}/change/": FORMS,
    }
    for path, texts in pages.items():
        for width in (1400, 375):
            page.look(width=width, is_dark=is_dark)
            page.open(f"/admin/analytics/{path}")
            assert page.run("document.documentElement.classList.contains('dark')") is is_dark
            for selector in texts:
                assert min(page.contrasts(selector)) >= TEXT_CONTRAST, (path, selector)
            assert page.wider_than_the_window() == [], path


def test_one_is_muted_and_switched_off_on_its_page(page, event):
    page.open(f"/admin/analytics/alert/{event.alert_id}/change/")
    page.do(lambda page: page.get_by_label("Mute reason").fill("Known"))
    page.follow(lambda page: page.get_by_role("button", name="Save", exact=True).click())
    event.alert.refresh_from_db()
    assert event.alert.mute_reason == "Known"
