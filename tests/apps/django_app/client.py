"""A Django program with answers of its own; it knows nothing of pgshim.

    DJANGO_DATABASE='{...}' python -m tests.apps.django_app.client STORY ...

The tables are there (`migrate`). Prints a line for each story that went well.
"""

import datetime
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.apps.django_app.settings")
django.setup()

from django.conf import settings  # noqa: E402
from django.db import IntegrityError, NotSupportedError, close_old_connections, connection, transaction  # noqa: E402
from django.db.models import Count, F  # noqa: E402

from tests.apps.django_app.models import Author, Book  # noqa: E402

MOMENT = datetime.datetime(2024, 12, 31, 23, 0, tzinfo=datetime.UTC)
ROUNDS = 6
THREADS = 6


def ask(sql: str, *parameters: Any) -> Any:
    """The first row of a raw query."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters or None)
        return cursor.fetchone()


def store(name: str, books: int) -> Author:
    author = Author.objects.create(name=name)
    Book.objects.bulk_create(
        Book(author=author, title=f"{name} {n}", published=MOMENT, extra={"n": n}) for n in range(books)
    )
    return author


def transactions() -> None:
    """Blocks that nest, fail, and are committed; what is read in between."""
    for turn in range(ROUNDS):
        with transaction.atomic():
            author = store(f"author {turn}", 4)
            try:
                with transaction.atomic():
                    store(f"undone {turn}", 2)
                    Author.objects.create(name=f"author {turn}")
            except IntegrityError:
                pass
            done = []
            transaction.on_commit(lambda done=done, turn=turn: done.append(turn))
        assert done == [turn]
        try:
            with transaction.atomic():
                store(f"undone {turn}", 2)
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        assert not Author.objects.filter(name__startswith="undone").exists()
        with transaction.atomic():
            locked = Author.objects.select_for_update().get(pk=author.pk)
            assert locked.books.filter(extra__n__gte=2).update(title=F("title")) == 2
        counted = Author.objects.annotate(number=Count("books")).get(pk=author.pk)
        assert counted.number == 4
    Author.objects.filter(name__startswith="author").delete()


def zones() -> None:
    """The connection's time zone, on every server that a transaction may land on."""
    zone = settings.DATABASES["default"].get("TIME_ZONE") or "UTC"
    seen = set()
    store("zones", 1)
    for _ in range(ROUNDS):
        assert ask("SELECT current_setting('TimeZone'), %s::int", 1) == (zone, 1)
        with transaction.atomic():
            assert ask("SHOW TIME ZONE") == (zone,)
            assert ask("SELECT count(*) FROM pg_class")[0] > 0
        seen.add(ask("SELECT pg_backend_pid()")[0])
        assert Book.objects.get(title="zones 0").published == MOMENT
        # In Tokyo the year is another one already.
        assert Book.objects.filter(title="zones 0", published__year=2025).count() == 1
    assert len(seen) == 3, seen
    Author.objects.filter(name="zones").delete()


def iterators() -> None:
    """`iterator()` inside of a block, where its cursor needs no HOLD."""
    store("iterated", 250)
    for turn in range(ROUNDS):
        with transaction.atomic():
            titles = Book.objects.filter(author__name="iterated").order_by("id").values_list("title", flat=True)
            assert list(titles.iterator(chunk_size=100)) == [f"iterated {n}" for n in range(250)]
            first = next(iter(titles.iterator(chunk_size=10)))
            assert first == "iterated 0"
            assert Author.objects.count() > 0, turn
    Author.objects.filter(name="iterated").delete()


def iterators_outside() -> None:
    """The same outside of a block, with DISABLE_SERVER_SIDE_CURSORS."""
    store("outside", 120)
    for _ in range(ROUNDS):
        found = [book.title for book in Book.objects.filter(author__name="outside").order_by("id").iterator(50)]
        assert found == [f"outside {n}" for n in range(120)]
    Author.objects.filter(name="outside").delete()


def held_iterators() -> None:
    """The same outside of a block, with a cursor WITH HOLD: refused by name, and nothing else is harmed."""
    store("held", 120)
    for _ in range(ROUNDS):
        try:
            list(Book.objects.filter(author__name="held").iterator(50))
        except NotSupportedError as error:
            diag = error.__cause__.diag
            assert diag.sqlstate == "0A000"
            assert "WITH HOLD" in diag.message_primary, diag.message_primary
            assert "DISABLE_SERVER_SIDE_CURSORS" in diag.message_hint, diag.message_hint
        else:
            raise AssertionError("not refused")
        assert Book.objects.filter(author__name="held").count() == 120
    Author.objects.filter(name="held").delete()


def roles() -> None:
    """`assume_role`: every statement is that role's."""
    for _ in range(ROUNDS):
        assert ask("SELECT current_user::text, session_user::text") == ("django_role", "app")
        with transaction.atomic():
            assert ask("SELECT current_user::text, %s::int", 7) == ("django_role", 7)


def levels() -> None:
    """`isolation_level` is what psycopg writes into each BEGIN."""
    for _ in range(ROUNDS):
        assert ask("SHOW transaction_isolation") == ("read committed",)
        with transaction.atomic():
            assert ask("SELECT current_setting('transaction_isolation')") == ("serializable",)


def requests() -> None:
    """Threads with a connection each, which they keep or give back after each request; a queue that they share."""
    queue = store("queue", 60)

    def answer(number: int, turn: int) -> None:
        kind = ("int", "text")[(number + turn) % 2]
        found = ask(f"SELECT {number * 100} + %s, %s::{kind}", turn, turn)
        assert found == (number * 100 + turn, turn if kind == "int" else str(turn))
        with transaction.atomic():
            author = store(f"thread {number} {turn}", 3)
            titles = author.books.order_by("id").values_list("title", flat=True)
            assert list(titles.iterator(chunk_size=2)) == [f"thread {number} {turn} {n}" for n in range(3)]
        assert Author.objects.filter(name__startswith=f"thread {number} ").count() == turn + 1

    def take(number: int) -> bool:
        with transaction.atomic():
            waiting = Book.objects.select_for_update(skip_locked=True).filter(author=queue)
            book = waiting.exclude(extra__has_key="by").order_by("id").first()
            if book is None:
                return False
            book.extra["by"] = number
            book.save()
        return True

    def serve(number: int) -> int:
        taken = 0
        for turn in range(ROUNDS):
            close_old_connections()
            answer(number, turn)
            taken += sum(take(number) for _ in range(3))
            close_old_connections()
        while take(number):
            taken += 1
        connection.close()
        return taken

    with ThreadPoolExecutor(THREADS) as threads:
        taken = list(threads.map(serve, range(THREADS)))
    by = [queue.books.filter(extra__by=number).count() for number in range(THREADS)]
    assert taken == by, (taken, by)
    assert queue.books.exclude(extra__has_key="by").count() == 0
    Author.objects.filter(name__startswith="thread ").delete()
    queue.delete()


def session_settings() -> None:
    """What a middleware would set for a request, and take back."""
    for turn in range(3):
        ask("SELECT set_config('app.user', %s, false)", f"user {turn}")
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = 4000")
        for _ in range(ROUNDS):
            found = ask("SELECT current_setting('app.user'), current_setting('statement_timeout')")
            assert found == (f"user {turn}", "4s")
        try:
            with transaction.atomic():
                ask("SELECT set_config('app.user', 'gone', false)")
                raise ZeroDivisionError
        except ZeroDivisionError:
            assert ask("SELECT current_setting('app.user')") == (f"user {turn}",)


if __name__ == "__main__":
    for story in sys.argv[1:]:
        globals()[story]()
        print(story)
