"""Django's PostgreSQL backend, with a pool that is usable again as soon as a restarted database is."""
