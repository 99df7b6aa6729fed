"""Pretended providers and photo hosts on this machine, with faults on demand: for the demo and the tests.

::

    sandbox = Sandbox(seed=1)
    sandbox.script("/blue-note/1.jpg", Fault("status", status=503), times=2)
    with sandbox.in_thread(hosts=3):
        ...  # sandbox.photo_url("blue-note/1.jpg"), sandbox.api_url("google_places"), sandbox.environment()
    sandbox.hits("/blue-note/1.jpg"), sandbox.metered_calls
"""

from __future__ import annotations

from venue_images.sandbox.faults import Fault, FaultKind
from venue_images.sandbox.hits import Hit
from venue_images.sandbox.server import Sandbox

__all__ = ["Fault", "FaultKind", "Hit", "Sandbox"]
