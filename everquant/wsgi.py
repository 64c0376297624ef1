import gc
import os
from typing import Any

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler

from everquant.postgresql.limits import limit_statements

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "everquant.settings")


class WholeAnswers(WSGIHandler):
    """Gives an answer that is whole as a list: granian sends it at once and with its length.

    Anything else it reads piece by piece, in chunks and with the interpreter's lock taken for each.
    """

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        response: Any = super().__call__(environ, start_response)
        if response.streaming:
            return response
        response.close()
        return [response.content]


gc.disable()  # until all apps are imported (`apps.py`): it would walk through them again and again
limit_statements(settings.WRITE_TIMEOUT)
django.setup(set_prefix=False)
application = WholeAnswers()
