import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from everquant.postgresql.limits import limit_statements

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "everquant.settings")

limit_statements(settings.WRITE_TIMEOUT)
application = get_wsgi_application()
