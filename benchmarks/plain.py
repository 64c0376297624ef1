"""The reference: a Django answer of a few bytes, without any of the product, on the same server settings."""

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="plain", DEBUG=False)
django.setup()


def answer(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(b'{"ok":true}', content_type="application/json")


urlpatterns = [path("", answer)]
application = get_wsgi_application()
