"""Faults done to the real product: `make test-faults`.

Web, worker, PostgreSQL and Valkey run as processes of their own; they are killed, stopped and cut off, providers fail
in every way, clients leave. After each fault `invariants.py` reads the database.
"""
