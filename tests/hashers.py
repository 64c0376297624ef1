from django.contrib.auth.hashers import Argon2PasswordHasher


class QuickArgon2Hasher(Argon2PasswordHasher):
    """Argon2 at its lowest cost: the tests sign many people up."""

    time_cost = 1
    memory_cost = 8
    parallelism = 1
