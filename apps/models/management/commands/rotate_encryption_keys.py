from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.models.services import rotate_provider_keys


class Command(BaseCommand):
    help = "Encrypt every provider's key again, with the first of ENCRYPTION_KEYS. Afterwards older keys can go."

    def handle(self, *args: Any, **options: Any) -> None:
        rotated, unreadable = rotate_provider_keys()
        self.stdout.write(f"{rotated} keys encrypted again.")
        if unreadable:
            names = ", ".join(f"{provider.name} ({provider.pk})" for provider in unreadable)
            raise CommandError(f"No key in ENCRYPTION_KEYS opens those of: {names}")
