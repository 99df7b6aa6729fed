"""Venue Images: photos for every venue of a catalogue, and the recovery of the ones that failed."""

from __future__ import annotations

__version__ = "0.1.0"
