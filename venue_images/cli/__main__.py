"""``python -m venue_images.cli``: the same command, without the script."""

from __future__ import annotations

from venue_images.cli import main

if __name__ == "__main__":
    main()
