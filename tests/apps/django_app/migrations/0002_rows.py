"""A column, and rows written through the models of this moment, in one transaction."""

import datetime
from typing import Any

from django.db import migrations, models


def add_rows(apps: Any, schema_editor: Any) -> None:
    author = apps.get_model("django_app", "Author").objects.create(name="first")
    moment = datetime.datetime(2024, 12, 31, 23, 0, tzinfo=datetime.UTC)
    book = apps.get_model("django_app", "Book")
    book.objects.bulk_create(book(author=author, title=f"book {n}", published=moment) for n in range(5))


class Migration(migrations.Migration):
    dependencies = [("django_app", "0001_initial")]

    operations = [
        migrations.AddField("Book", "extra", models.JSONField(default=dict)),
        migrations.RunPython(add_rows, migrations.RunPython.noop),
    ]
