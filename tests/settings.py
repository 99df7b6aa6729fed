"""The site's settings on a database and a home folder of their own, which go away with the test run."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

_home = tempfile.mkdtemp(prefix="venue-images-tests-")
# Registered before the database starts, so that it runs after the database has stopped.
atexit.register(shutil.rmtree, _home, ignore_errors=True)
for _name in [name for name in os.environ if name.startswith("VENUE_IMAGES_")]:
    del os.environ[_name]
os.environ.pop("DATABASE_URL", None)
os.environ["VENUE_IMAGES_HOME"] = _home
os.environ["STORAGE_URL"] = "memory://"

from venue_images.project.settings import *  # noqa: E402, F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ALLOWED_HOSTS = ["*"]
