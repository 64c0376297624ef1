import gc
import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from everquant.postgresql.limits import limit_statements

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "everquant.settings")

gc.disable()  # until all apps are imported (`apps.py`): it would walk through them again and again
limit_statements(settings.WRITE_TIMEOUT)
application = get_wsgi_application()
