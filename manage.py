#!/usr/bin/env python
"""Django's commands, with the embedded services around those that need a database."""

import gc
import os
import sys
from contextlib import nullcontext

from everquant.embedded import EmbeddedError

# They neither read nor write, or ask a server; `up` and `web` decide for themselves.
WITHOUT_DATABASE = {
    "--help",
    "--version",
    "check",
    "collectstatic",
    "diffsettings",
    "evaluate",
    "findstatic",
    "help",
    "spectacular",
    "up",
    "version",
    "web",
}


def main() -> int:
    gc.disable()  # until all apps are imported (`everquant/apps.py`): it would walk through them again and again
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "everquant.settings")
    from django.conf import settings  # noqa: PLC0415 (reads the environment)
    from django.core.exceptions import ImproperlyConfigured  # noqa: PLC0415
    from django.core.management import execute_from_command_line  # noqa: PLC0415

    from everquant.management.commands.web import Command as Web  # noqa: PLC0415

    command = sys.argv[1] if len(sys.argv) > 1 else "help"
    try:
        is_needed = command not in WITHOUT_DATABASE and "--help" not in sys.argv
        with (settings.EMBEDDED if is_needed else None) or nullcontext():
            if command == "web":  # it loads the apps itself, within the limits of a web process
                Web().run_from_argv(sys.argv)
            else:
                execute_from_command_line(sys.argv)
    except (EmbeddedError, ImproperlyConfigured) as error:
        sys.stderr.write(f"{error}\n")
        return 3 if command == "evaluate" else 1  # whose 1 says that a gate failed
    return 0


if __name__ == "__main__":
    sys.exit(main())
