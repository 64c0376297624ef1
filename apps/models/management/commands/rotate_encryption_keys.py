from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.models.services import rotate_provider_keys
from apps.organizations.webhooks.services import rotate_webhook_secrets


class Command(BaseCommand):
    help = "Encrypt every provider's key and every webhook's secret again, with the first of ENCRYPTION_KEYS."

    def handle(self, *args: Any, **options: Any) -> None:
        rotated, providers = rotate_provider_keys()
        self.stdout.write(f"{rotated} keys encrypted again.")
        rotated, webhooks = rotate_webhook_secrets()
        self.stdout.write(f"The secrets of {rotated} webhooks encrypted again.")
        unreadable = [f"{provider.name} ({provider.pk})" for provider in providers]
        unreadable += [f"{webhook.name} ({webhook.pk})" for webhook in webhooks]
        if unreadable:
            raise CommandError(f"No key in ENCRYPTION_KEYS opens those of: {', '.join(unreadable)}")
