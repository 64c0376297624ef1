"""The tests' settings, with the jobs of the worker's tests, on the test's own database (DATABASE_URL)."""

from tests.settings import *  # noqa: F403 (settings build on settings)
from tests.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.project.jobs"]
