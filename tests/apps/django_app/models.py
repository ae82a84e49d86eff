"""The models of a small Django app."""

from django.db import models


class Author(models.Model):
    name = models.CharField(max_length=100, unique=True)

    class Meta:
        app_label = "django_app"


class Book(models.Model):
    author = models.ForeignKey(Author, on_delete=models.CASCADE, related_name="books")
    title = models.CharField(max_length=100)
    published = models.DateTimeField()
    extra = models.JSONField(default=dict)

    class Meta:
        app_label = "django_app"
        indexes = [models.Index(fields=["title"], name="django_app_title")]
