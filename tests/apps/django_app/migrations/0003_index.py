"""An index made without a lock: outside of a transaction."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("django_app", "0002_rows")]

    operations = [AddIndexConcurrently("Book", models.Index(fields=["title"], name="django_app_title"))]
