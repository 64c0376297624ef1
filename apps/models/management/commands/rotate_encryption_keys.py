from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.models.services import rotate_provider_keys
from apps.organizations.webhooks.services import rotate_signing_secrets


class Command(BaseCommand):
    help = "Encrypt keys of providers and secrets of webhooks and triggers again, with the first of ENCRYPTION_KEYS."

    def handle(self, *args: Any, **options: Any) -> None:
        rotated, providers = rotate_provider_keys()
        self.stdout.write(f"{rotated} keys encrypted again.")
        rotated, signing = rotate_signing_secrets()
        self.stdout.write(f"The secrets of {rotated} webhooks and triggers encrypted again.")
        unreadable = [f"{provider.name} ({provider.pk})" for provider in providers]
        unreadable += [f"{one.name} ({one.pk})" for one in signing]
        if unreadable:
            raise CommandError(f"No key in ENCRYPTION_KEYS opens those of: {', '.join(unreadable)}")
