import gc
import os

import django
from django.conf import settings

from everquant.postgresql.limits import limit_statements

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "everquant.settings")

gc.disable()  # until all apps are imported (`apps.py`): it would walk through them again and again
limit_statements(settings.WRITE_TIMEOUT)
django.setup(set_prefix=False)

from everquant.application import Application  # noqa: E402 (it needs the apps)

application = Application()
