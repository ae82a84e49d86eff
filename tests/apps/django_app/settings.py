"""A Django project's settings: one database, whose address and options come from the environment."""

import json
import os

_database = json.loads(os.environ["DJANGO_DATABASE"])

SECRET_KEY = "of a test"
USE_TZ = True
TIME_ZONE = "Asia/Tokyo"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "tests.apps.django_app",
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "CONN_MAX_AGE": None, **_database}}
