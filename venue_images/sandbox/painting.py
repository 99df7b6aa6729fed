"""Paint for the pictures: palettes, gradients, light, lettering, grain."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

RGB = tuple[int, int, int]
Point = tuple[float, float]
Box = tuple[float, float, float, float]

#: Light is painted on a picture so many times smaller: soft, and quick.
LIGHT_SCALE = 8
#: Where Pillow's radial gradient meets the edge of its square; beyond are the corners.
HALO_EDGE = 178
GRAIN = 0.05
GRAIN_TILE = 512


@dataclass(frozen=True)
class Palette:
    """The colours of one venue: the sky from top to horizon, walls, neon, lamps."""

    sky: tuple[RGB, RGB, RGB]
    wall: RGB
    neon: RGB
    lamp: RGB


PALETTES = (
    Palette(((22, 18, 62), (124, 52, 116), (252, 146, 92)), (66, 44, 78), (255, 92, 140), (255, 208, 128)),
    Palette(((8, 28, 52), (24, 92, 116), (246, 180, 108)), (38, 62, 78), (74, 222, 210), (255, 214, 150)),
    Palette(((16, 18, 72), (78, 66, 164), (246, 142, 178)), (54, 50, 96), (132, 150, 255), (255, 216, 168)),
    Palette(((34, 8, 30), (134, 28, 56), (254, 134, 78)), (84, 34, 46), (255, 110, 74), (255, 204, 132)),
    Palette(((6, 30, 40), (24, 98, 92), (236, 206, 132)), (40, 66, 62), (126, 232, 140), (255, 222, 150)),
    Palette(((14, 22, 50), (58, 84, 138), (252, 196, 122)), (62, 60, 76), (255, 196, 64), (255, 216, 140)),
    Palette(((26, 14, 54), (108, 40, 140), (236, 110, 160)), (70, 38, 90), (220, 112, 255), (255, 196, 150)),
    Palette(((20, 28, 40), (80, 96, 112), (250, 176, 130)), (78, 62, 58), (255, 150, 110), (255, 226, 176)),
)


def mix(first: RGB, second: RGB, share: float) -> RGB:
    """``first`` with this share of ``second``, 0 to 1."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def darker(colour: RGB, share: float) -> RGB:
    return mix(colour, (4, 4, 10), share)


class Canvas:
    """A picture being painted: flat shapes at once, light collected and added at the end."""

    def __init__(self, size: tuple[int, int], palette: Palette, rng: random.Random) -> None:
        self.width, self.height = size
        self.palette = palette
        self.rng = rng
        self.image = Image.new("RGB", size)
        self.draw = ImageDraw.Draw(self.image)
        self._lights = Image.new("RGB", (-(-self.width // LIGHT_SCALE), -(-self.height // LIGHT_SCALE)))

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def box(self, left: float, top: float, right: float, bottom: float) -> tuple[int, int, int, int]:
        """Shares of width and height as pixels."""
        return (
            round(left * self.width),
            round(top * self.height),
            round(right * self.width),
            round(bottom * self.height),
        )

    def rectangle(self, box: Box, colour: RGB) -> None:
        left, top, right, bottom = self.box(*box)
        if right > left and bottom > top:
            self.draw.rectangle((left, top, right - 1, bottom - 1), colour)

    def gradient(self, box: Box, *colours: RGB) -> None:
        """Fill with the colours from top to bottom."""
        left, top, right, bottom = self.box(*box)
        strip = Image.new("RGB", (1, len(colours)))
        strip.putdata(colours)
        smooth = strip.resize((1, bottom - top), Image.Resampling.BICUBIC)
        self.image.paste(smooth.resize((right - left, bottom - top), Image.Resampling.NEAREST), (left, top))

    def polygon(self, points: Iterable[Point], colour: RGB) -> None:
        self.draw.polygon([(x * self.width, y * self.height) for x, y in points], colour)

    def line(self, points: Iterable[Point], colour: RGB, width: float) -> None:
        """A line; its width is a share of the picture's width."""
        pixels = [(x * self.width, y * self.height) for x, y in points]
        self.draw.line(pixels, colour, max(1, round(width * self.width)), joint="curve")

    def disc(self, x: float, y: float, radius: float, colour: RGB) -> None:
        """A circle; its radius is a share of the picture's width."""
        x, y, radius = x * self.width, y * self.height, radius * self.width
        self.draw.ellipse((x - radius, y - radius, x + radius, y + radius), colour)

    def glow(self, x: float, y: float, radius: float, colour: RGB, strength: float = 1.0) -> None:
        """A round light that fades outwards; its radius is a share of the picture's width."""
        pixels = max(2, round(radius * self._lights.width))
        centre = (round(x * self._lights.width) - pixels, round(y * self._lights.height) - pixels)
        lights = Image.new("RGB", self._lights.size)
        lights.paste(mix((0, 0, 0), colour, strength), centre, _halo(pixels * 2))
        self._lights = ImageChops.add(self._lights, lights)

    def beam(self, points: Sequence[Point], colour: RGB, strength: float, blur: float = 2.0) -> None:
        """A lit area with soft edges; beams that cross add up."""
        width, height = self._lights.size
        lights = Image.new("RGB", self._lights.size)
        corners = [(x * width, y * height) for x, y in points]
        ImageDraw.Draw(lights).polygon(corners, mix((0, 0, 0), colour, strength))
        self._lights = ImageChops.add(self._lights, lights.filter(ImageFilter.GaussianBlur(blur)))

    def lettering(self, text: str, box: Box, colour: RGB, *, neon: RGB | None = None) -> None:
        """The text as large as the box allows, on one or two lines; neon shines in its colour."""
        left, top, right, bottom = self.box(*box)
        lines, size = _fit(text, right - left, bottom - top)
        left, top = left - left % LIGHT_SCALE, top - top % LIGHT_SCALE
        ink = Image.new("L", (right - left, bottom - top))
        ImageDraw.Draw(ink).multiline_text(
            (ink.width / 2, ink.height / 2),
            lines,
            255,
            _font(size),
            anchor="mm",
            align="center",
            spacing=size / 5,
            stroke_width=size / 45,
        )
        self.image.paste(colour, (left, top), ink)
        if neon:
            self._shine_around(ink.reduce(LIGHT_SCALE), (left // LIGHT_SCALE, top // LIGHT_SCALE), neon)

    def _shine_around(self, ink: Image.Image, corner: tuple[int, int], colour: RGB) -> None:
        for blur, strength in ((1.0, 0.45), (4.5, 0.9)):
            lights = Image.new("RGB", self._lights.size)
            lights.paste(mix((0, 0, 0), colour, strength), corner, ink)
            self._lights = ImageChops.add(self._lights, lights.filter(ImageFilter.GaussianBlur(blur)))

    def mirror(self, top: float, bottom: float, tint: RGB, share: float) -> None:
        """Wet ground or water: what is above ``top``, upside down and mixed with a tint."""
        left, first, right, last = self.box(0, top, 1, bottom)
        above = self.image.crop((left, 2 * first - last, right, first)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        blurred = above.reduce((8, 24)).resize(above.size, Image.Resampling.BILINEAR)
        self.image.paste(Image.blend(blurred, Image.new("RGB", above.size, tint), share), (left, first))

    def shine(self) -> None:
        """Put the light collected so far on the picture; what is painted afterwards stands in front of it."""
        if self._lights.getbbox():
            lights = self._lights.resize(self.image.size, Image.Resampling.BILINEAR)
            self.image = ImageChops.screen(self.image, lights)
            self.draw = ImageDraw.Draw(self.image)
            self._lights = Image.new("RGB", self._lights.size)

    def finish(self, *, grain: bool = True) -> Image.Image:
        """The picture with its light on it and, like film, a little grain."""
        self.shine()
        return Image.blend(self.image, _grain(self.image.size), GRAIN) if grain else self.image


@functools.lru_cache(maxsize=64)
def _halo(size: int) -> Image.Image:
    """A disc that fades from its middle to its edge."""
    fade = [round(255 * max(0.0, 1 - shade / HALO_EDGE) ** 1.7) for shade in range(256)]
    return Image.radial_gradient("L").point(fade).resize((size, size))


@functools.lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # noqa: S101 - the wheels of Pillow all have FreeType
    return font


@functools.lru_cache(maxsize=8)
def _grain(size: tuple[int, int]) -> Image.Image:
    tile = Image.frombytes("L", (GRAIN_TILE, GRAIN_TILE), random.Random("grain").randbytes(GRAIN_TILE * GRAIN_TILE))
    grain = Image.new("L", size)
    for left in range(0, size[0], GRAIN_TILE):
        for top in range(0, size[1], GRAIN_TILE):
            grain.paste(tile, (left, top))
    return grain.convert("RGB")


def _fit(text: str, width: int, height: int) -> tuple[str, int]:
    """The text in the lines, and at the size in pixels, that fill the box best; lines of like length win a tie."""
    words = text.split()
    cuts = [[" ".join(words[:cut]), " ".join(words[cut:])] for cut in range(1, len(words))]
    lines, (size, _) = max(
        ((lines, _largest(lines, width, height)) for lines in ([" ".join(words)], *cuts)), key=lambda fit: fit[1]
    )
    return "\n".join(lines), size


def _largest(lines: Sequence[str], width: int, height: int) -> tuple[int, float]:
    """The size at which the lines just fit, and how much shorter than the box they stay."""
    reference = 100
    widest = max(_font(reference).getlength(line) for line in lines) + reference / 10
    tall = reference * 1.25 * len(lines)
    return max(8, int(min(width / widest, height / tall) * reference)), -widest
