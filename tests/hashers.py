from django.contrib.auth.hashers import Argon2PasswordHasher


class QuickArgon2Hasher(Argon2PasswordHasher):
    """Argon2 at its lowest cost: the tests sign many people up."""

    time_cost = 1
    memory_cost = 8
    parallelism = 1


class CountingHasher(QuickArgon2Hasher):
    """Counts how often a password was hashed, to be set against another request."""

    hashed = 0

    def encode(self, password: str, salt: str) -> str:
        type(self).hashed += 1
        return str(super().encode(password, salt))

    def verify(self, password: str, encoded: str) -> bool:
        type(self).hashed += 1
        return bool(super().verify(password, encoded))
