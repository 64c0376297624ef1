"""Jobs that say in files what happened to them."""

import os
import threading
import time
from pathlib import Path

from django.db import connection, transaction
from procrastinate.contrib.django import app

MEETING = threading.Barrier(int(os.environ.get("MEETING_SIZE", "1")))


@app.task
def meet(folder: str, name: str) -> None:
    """Ends only when as many jobs as MEETING_SIZE run at once."""
    MEETING.wait(20)
    (Path(folder) / name).touch()


@app.task
def note(path: str) -> None:
    """Writes how long a statement may take here."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        found = str(cursor.fetchone()[0])
    unfinished = Path(f"{path}.unfinished")
    unfinished.write_text(found)
    unfinished.rename(path)


@app.task(queue="elsewhere")
def note_elsewhere(path: str) -> None:
    Path(path).touch()


@app.task
def enqueue_in_transaction(path: str, fail: bool) -> None:
    """Queues `note` in a transaction that is rolled back when `fail`."""
    with transaction.atomic():
        note.defer(path=path)
        if fail:
            raise RuntimeError("rolled back on purpose")


@app.task
def wait_for(started: str, path: str) -> None:
    """Holds its thread, and no database connection, until the file is there."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    connection.close()
    Path(started).touch()
    while not Path(path).exists():
        time.sleep(0.02)
