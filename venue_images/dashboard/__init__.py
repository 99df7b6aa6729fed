"""The pages under ``/admin/venue-images/``: each view calls one function and renders or redirects."""

from __future__ import annotations
