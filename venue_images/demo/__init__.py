"""``venue-images demo``: the whole story on this machine, against the sandbox, with the proof at its end.

``stage`` sets the scene (home, environment, sandbox), ``catalogue`` chooses photos and faults, ``drawing`` draws the
photos, ``story`` tells the steps, ``proof`` checks what they claim.
"""

from __future__ import annotations

from venue_images.demo import catalogue
from venue_images.demo.stage import open_empty_database, staged

__all__ = ["run"]


def run(*, venues: int, seed: int, port: int, serve: bool) -> int:
    """Tell the story; exit status 1 when the recovery did not do what it says."""
    with staged(seed, port=port if serve else None) as stage:
        cast = catalogue.make_venues(stage.sandbox, venues + (catalogue.LATECOMERS if serve else 0))
        stage.photos.begin([path for venue in cast for path in venue.paths])
        open_empty_database(stage)
        # Importable only now that Django is loaded.
        from venue_images.demo.story import Story  # noqa: PLC0415

        with Story(stage, cast[:venues], cast[venues:]) as story:
            return story.tell(port if serve else None)
