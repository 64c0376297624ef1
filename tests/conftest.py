"""Fixtures of every test: real PostgreSQL and Valkey for the run, and a shared cast.

The cast: an admin, an editor and a viewer of one organization, and an outsider who is admin of another.
"""

import gc
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.core.cache import caches
from django.db import connection
from django.test import TestCase, TransactionTestCase
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob
from pytest_django.plugin import blocking_manager_key
from rest_framework.test import APIClient

from apps.organizations.models import Organization
from apps.users.models import Membership, User
from apps.users.permissions import Role
from everquant import cache as cache_module
from tests.contract import check_answers
from tests.databases import Run, empty_tables, leave_database, make_database, make_migrated

pytest_plugins = ["tests.upstream.fixtures", "tests.chromium"]

PASSWORD = "correct horse battery"

# How long an example takes says more of what else the machine does than of what is tried.
hypothesis_settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("busy")


CHROMIUM = "chromium"
# Tests that start programs, by their file, from the longest to the shortest.
LONGEST = (
    "test_up.py",
    "test_openapi.py",
    CHROMIUM,
    "test_embedded.py",
    "test_containers.py",
    "test_workers.py",
    "test_worker.py",
    "test_processes.py",
)

_run = pytest.StashKey[Run]()


def _program_of(item: pytest.Item) -> str:
    """What it starts; all that need a browser are one, since each process that has some starts its own."""
    return CHROMIUM if CHROMIUM in getattr(item, "fixturenames", ()) else item.path.name


def pytest_configure(config: pytest.Config) -> None:
    # A shell ignores it for what it starts in the background; processes of tests would inherit that, and Ctrl-C fail.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):
        if settings.EMBEDDED is not None:
            settings.EMBEDDED.start()
        config.stash[_run] = Run()
        with config.stash[blocking_manager_key].unblock():
            make_migrated()


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        if _run in config.stash:
            config.stash[_run].end()
        if settings.EMBEDDED is not None:
            settings.EMBEDDED.stop()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is imported and collected stays: each process would walk through all of it again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Those that take longest begin first, a few in each process, so that none works alone at the end.

    xdist cuts the list into a piece for each process, and the others steal from the end of a piece.
    """
    processes = getattr(config, "workerinput", {}).get("workercount", 1)
    names = {item: _program_of(item) for item in items}
    rest = [item for item in items if names[item] not in LONGEST]
    ordered: list[pytest.Item] = []
    for process in range(processes):
        long = [item for name in LONGEST[process::processes] for item in items if names[item] == name]
        size = (len(items) - len(ordered)) // (processes - process)
        short = rest[: max(0, size - len(long))]
        rest = rest[len(short) :]
        ordered += long + short
    items[:] = ordered + rest


@pytest.fixture(scope="session")
def django_db_setup(request: pytest.FixtureRequest, django_test_environment: None, django_db_blocker: Any) -> Any:
    """In place of pytest-django's, by which every process runs all migrations."""
    with django_db_blocker.unblock():
        make_database(getattr(request.config, "workerinput", {}).get("workerid", "alone"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", empty_tables)
        yield
    with django_db_blocker.unblock():
        leave_database()


@pytest.fixture(autouse=True, scope="session")
def _answers_are_as_described() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        check_answers(patch)
        yield


@pytest.fixture(autouse=True)
def _empty_caches() -> Iterator[None]:
    yield
    caches["default"].client.get_client().flushdb()
    caches["local"].clear()


class AwayRedis:
    """Redis at an address where nothing listens; `back()` is a while in which it is there."""

    def __init__(self, settings: Any) -> None:
        self._settings, self._there = settings, settings.CACHES
        self._dead = {**self._there}
        for name in ("default", "limits"):
            self._dead[name] = {**self._there[name], "LOCATION": "unix:///nonexistent/valkey.sock?db=0"}

    def _use(self, caches_setting: dict[str, Any]) -> None:
        self._settings.CACHES = caches_setting
        cache_module._Outage.until = 0.0

    @contextmanager
    def back(self) -> Iterator[None]:
        self._use(self._there)
        try:
            yield
        finally:
            self._use(self._dead)

    def leave(self) -> None:
        self._use(self._dead)

    def return_for_good(self) -> None:
        self._use(self._there)


@pytest.fixture
def redis_away(settings: Any) -> Iterator[AwayRedis]:
    away = AwayRedis(settings)
    away.leave()
    yield away
    away.return_for_good()


RunJobs = Callable[[], list[str]]


@pytest.fixture
def run_jobs(db: Any) -> RunJobs:
    """Does what is queued, in this thread and transaction; the names of the tasks that ran."""

    def run() -> list[str]:
        jobs = list(ProcrastinateJob.objects.filter(status="todo").order_by("id"))
        for job in jobs:
            app.tasks[job.task_name](**job.args)
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM procrastinate_jobs WHERE id = ANY(%s)", [[job.id for job in jobs]])
        return [job.task_name.rsplit(".", 1)[-1] for job in jobs]

    return run


class Client(APIClient):
    """Does after each request what the request promised for its commit: the test's own transaction never commits."""

    def request(self, **kwargs: Any) -> Any:
        with TestCase.captureOnCommitCallbacks(execute=True):
            return super().request(**kwargs)


@dataclass(frozen=True)
class Person:
    """A member of an organization and a client that is signed in as them."""

    user: User
    organization: Organization
    membership: Membership
    client: APIClient


SignIn = Callable[[Membership], APIClient]


def client_for(membership: Membership) -> APIClient:
    """Signed in as they are after a login, without the login."""
    from apps.users.services import start_session

    tokens = start_session(membership=membership)
    return Client(HTTP_AUTHORIZATION=f"Bearer {tokens.access}", raise_request_exception=False)


@pytest.fixture
def sign_in() -> SignIn:
    return client_for


@cache
def _hash(password: str) -> str:
    return make_password(password)


def make_person(organization: Organization, email: str, role: str, sign_in: SignIn) -> Person:
    """Stored in bulk, which sends no signals: most tests need a person, and none needs what is written of his coming
    (audit entries) or forgotten because of it (there is nothing yet)."""
    user = User(email=email, password=_hash(PASSWORD))
    membership = Membership(organization=organization, user=user, role=role)
    User.objects.bulk_create([user])
    Membership.objects.bulk_create([membership])
    return Person(user, organization, membership, sign_in(membership))


def make_organization(name: str) -> Organization:
    return Organization.objects.bulk_create([Organization(name=name, slug=name.lower())])[0]


@pytest.fixture
def organization(db: Any) -> Organization:
    return make_organization("Acme")


@pytest.fixture
def admin(organization: Organization, sign_in: SignIn) -> Person:
    return make_person(organization, "ada@acme.example", Role.ADMIN, sign_in)


@pytest.fixture
def editor(organization: Organization, sign_in: SignIn) -> Person:
    return make_person(organization, "eve@acme.example", Role.EDITOR, sign_in)


@pytest.fixture
def viewer(organization: Organization, sign_in: SignIn) -> Person:
    return make_person(organization, "vic@acme.example", Role.VIEWER, sign_in)


@pytest.fixture
def outsider(db: Any, sign_in: SignIn) -> Person:
    return make_person(make_organization("Other"), "oz@other.example", Role.ADMIN, sign_in)


@pytest.fixture
def anonymous() -> APIClient:
    return Client(raise_request_exception=False)
