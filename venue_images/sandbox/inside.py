"""Pictures of a venue from inside: the stage, the bar, the audience, the sign on the wall."""

from __future__ import annotations

import math

from venue_images.sandbox.painting import RGB, Canvas, darker, mix

WHITE: RGB = (255, 250, 240)
BLACK: RGB = (8, 6, 12)


def stage(canvas: Canvas, name: str) -> None:
    """An empty stage before the show: curtains, spotlights, instruments."""
    neon, deep = canvas.palette.neon, darker(canvas.palette.sky[0], 0.5)
    canvas.gradient((0, 0, 1, 0.74), deep, darker(canvas.palette.sky[1], 0.45))
    canvas.lettering(name, (0.24, 0.17, 0.76, 0.36), mix(neon, WHITE, 0.7), neon=neon)
    canvas.gradient((0, 0.70, 1, 1), mix(canvas.palette.wall, (150, 96, 60), 0.5), darker(canvas.palette.wall, 0.6))
    for board in range(1, 9):
        x = 0.5 + (board - 4.5) * 0.09
        canvas.line([(x, 0.70), (0.5 + (x - 0.5) * 2.4, 1)], darker(canvas.palette.wall, 0.5), 0.002)
    _instruments(canvas)
    _curtains(canvas)
    canvas.rectangle((0, 0.035, 1, 0.06), BLACK)
    for lamp in range(6):
        x = 0.16 + lamp * 0.136
        _spotlight(canvas, x, 0.5 + (x - 0.5) * canvas.rng.uniform(0.0, 0.75), canvas.rng.choice(_spot_colours(canvas)))


def bar(canvas: Canvas, name: str) -> None:
    """The bar: shelves of bottles lit from behind, pendant lamps, a long counter."""
    wall, lamp = canvas.palette.wall, canvas.palette.lamp
    canvas.gradient((0, 0, 1, 1), darker(wall, 0.5), wall, darker(wall, 0.4))
    canvas.lettering(name, (0.2, 0.05, 0.8, 0.19), mix(canvas.palette.neon, WHITE, 0.7), neon=canvas.palette.neon)
    for shelf in (0.385, 0.535):
        _shelf(canvas, shelf)
    for x in (0.2, 0.4, 0.6, 0.8):
        _pendant(canvas, x)
    canvas.gradient((0, 0.655, 1, 0.70), mix(lamp, (140, 80, 44), 0.55), mix((120, 66, 38), wall, 0.3))
    canvas.gradient((0, 0.70, 1, 1), mix((84, 46, 30), wall, 0.4), darker(wall, 0.75))
    for panel in range(9):
        canvas.line([(panel / 8, 0.71), (panel / 8, 1)], darker(wall, 0.75), 0.004)
    _glasses(canvas)
    for stool in range(5):
        _stool(canvas, 0.12 + stool * 0.19)


def audience(canvas: Canvas, name: str) -> None:
    """A full house from the back: raised hands against the light of the stage."""
    sky, neon = canvas.palette.sky, canvas.palette.neon
    canvas.gradient((0, 0, 1, 1), darker(sky[0], 0.55), mix(sky[0], sky[1], 0.7), darker(sky[1], 0.3))
    canvas.rectangle((0.23, 0.20, 0.77, 0.45), darker(sky[0], 0.35))
    canvas.gradient((0.24, 0.213, 0.76, 0.437), darker(neon, 0.72), darker(neon, 0.5))
    canvas.lettering(name, (0.27, 0.24, 0.73, 0.41), mix(neon, WHITE, 0.8), neon=neon)
    colours = _spot_colours(canvas)
    for lamp in range(9):
        x = 0.1 + lamp * 0.1
        lean = (x - 0.5) * 0.9 + canvas.rng.uniform(-0.16, 0.16)
        canvas.beam(
            [(x - 0.006, 0), (x + 0.006, 0), (x + lean + 0.08, 0.85), (x + lean - 0.08, 0.85)], colours[lamp % 3], 0.24
        )
        canvas.glow(x, 0.012, 0.035, WHITE, 0.8)
    canvas.glow(0.5, 0.62, 0.55, canvas.palette.lamp, 0.4)
    _performers(canvas)
    canvas.shine()
    for row in range(4):
        _crowd(canvas, 0.70 + row * 0.075, 0.022 + row * 0.009, mix(BLACK, mix(sky[1], neon, 0.4), 0.42 - row * 0.13))


def sign(canvas: Canvas, name: str) -> None:
    """A detail: the name in neon on a brick wall, with a string of bulbs."""
    neon, lamp = canvas.palette.neon, canvas.palette.lamp
    _bricks(canvas)
    canvas.glow(0.5, 0.46, 0.55, neon, 0.42)
    for inset, colour in ((0.0, neon), (0.004, mix(neon, WHITE, 0.65))):
        left, top, right, bottom = canvas.box(0.13 + inset, 0.26 + inset, 0.87 - inset, 0.66 - inset)
        canvas.draw.rounded_rectangle((left, top, right, bottom), canvas.width // 24, None, colour, canvas.width // 220)
    canvas.beam([(0.12, 0.25), (0.88, 0.25), (0.88, 0.27), (0.12, 0.27)], neon, 0.5, blur=5)
    canvas.beam([(0.12, 0.65), (0.88, 0.65), (0.88, 0.67), (0.12, 0.67)], neon, 0.5, blur=5)
    canvas.lettering(name, (0.18, 0.31, 0.82, 0.61), mix(neon, WHITE, 0.8), neon=neon)
    wire = [(step / 40, 0.09 + 0.055 * math.sin(step / 40 * math.pi * 3) ** 2) for step in range(41)]
    canvas.line(wire, BLACK, 0.003)
    for x, y in wire[1::3]:
        canvas.line([(x, y), (x, y + 0.022)], BLACK, 0.004)
        canvas.disc(x, y + 0.034, 0.010, mix(lamp, WHITE, 0.5))
        canvas.glow(x, y + 0.034, 0.075, lamp, 0.5)


def _spot_colours(canvas: Canvas) -> tuple[RGB, RGB, RGB]:
    return canvas.palette.neon, canvas.palette.lamp, mix(canvas.palette.sky[1], WHITE, 0.3)


def _spotlight(canvas: Canvas, x: float, target: float, colour: RGB) -> None:
    canvas.rectangle((x - 0.016, 0.05, x + 0.016, 0.095), BLACK)
    canvas.beam([(x - 0.01, 0.09), (x + 0.01, 0.09), (target + 0.10, 0.84), (target - 0.10, 0.84)], colour, 0.2)
    canvas.glow(x, 0.095, 0.035, WHITE, 0.9)
    canvas.glow(target, 0.85, 0.17, colour, 0.22)


def _curtains(canvas: Canvas) -> None:
    cloth = mix(canvas.palette.sky[1], (150, 16, 40), 0.6)
    for fold in range(7):
        shade = darker(cloth, 0.25 + 0.45 * (fold % 2) + fold * 0.02)
        near, far, sway = fold * 0.026, (fold + 1) * 0.026, 0.012 * fold
        left = [(near, 0), (far, 0), (far - sway, 0.8), (near - sway * 0.8, 0.8)]
        canvas.polygon(left, shade)
        canvas.polygon([(1 - x, y) for x, y in left], shade)
    for swag in range(8):
        x = swag / 7
        canvas.disc(x, -0.012, 0.078, darker(cloth, 0.2 + 0.25 * (swag % 2)))


def _instruments(canvas: Canvas) -> None:
    skin, steel = darker(canvas.palette.neon, 0.25), (190, 186, 178)
    canvas.disc(0.5, 0.69, 0.062, darker(skin, 0.4))
    canvas.disc(0.5, 0.69, 0.054, mix(skin, WHITE, 0.72))
    for x, y, radius in ((0.425, 0.64, 0.033), (0.575, 0.64, 0.033)):
        canvas.disc(x, y, radius, darker(skin, 0.35))
        canvas.disc(x, y - 0.006, radius * 0.84, mix(skin, WHITE, 0.55))
    for x, y in ((0.37, 0.55), (0.63, 0.55)):
        canvas.line([(x, y), (x, 0.75)], steel, 0.003)
        canvas.polygon([(x - 0.05, y + 0.006), (x, y - 0.008), (x + 0.05, y + 0.002), (x, y + 0.010)], (226, 182, 84))
    for x in (0.28, 0.5, 0.72):
        canvas.line([(x, 0.60), (x, 0.84)], BLACK, 0.005)
        canvas.polygon([(x - 0.028, 0.846), (x + 0.028, 0.846), (x, 0.836)], BLACK)
        canvas.line([(x, 0.60), (x + 0.022, 0.578)], steel, 0.005)
        canvas.disc(x + 0.025, 0.574, 0.009, (70, 68, 74))
    for x in (0.19, 0.74):
        canvas.rectangle((x, 0.62, x + 0.08, 0.76), BLACK)
        canvas.disc(x + 0.04, 0.69, 0.028, (44, 40, 50))
        canvas.disc(x + 0.04, 0.69, 0.012, (80, 76, 88))


def _shelf(canvas: Canvas, y: float) -> None:
    lamp = canvas.palette.lamp
    canvas.gradient(
        (0.05, y - 0.13, 0.95, y), mix(canvas.palette.wall, lamp, 0.3), mix(canvas.palette.wall, lamp, 0.75)
    )
    for bottle in range(28):
        _bottle(canvas, 0.066 + bottle * 0.0313 + canvas.rng.uniform(-0.004, 0.004), y)
    canvas.rectangle((0.04, y, 0.96, y + 0.014), mix((70, 40, 26), canvas.palette.wall, 0.2))
    for step in range(9):
        canvas.glow(0.1 + step * 0.1, y, 0.08, lamp, 0.22)


def _bottle(canvas: Canvas, x: float, y: float) -> None:
    glass = mix(
        canvas.rng.choice(((36, 92, 58), (140, 78, 24), (186, 52, 50), (60, 88, 140), (214, 178, 90), (226, 226, 214))),
        canvas.palette.wall,
        0.15,
    )
    height, width = canvas.rng.uniform(0.075, 0.108), 0.020
    canvas.rectangle((x, y - height * 0.66, x + width, y), glass)
    canvas.polygon(
        [
            (x, y - height * 0.655),
            (x + 0.007, y - height * 0.78),
            (x + 0.013, y - height * 0.78),
            (x + width, y - height * 0.655),
        ],
        glass,
    )
    canvas.rectangle((x + 0.007, y - height, x + 0.013, y - height * 0.76), darker(glass, 0.2))
    canvas.rectangle((x + 0.002, y - height * 0.46, x + width - 0.002, y - height * 0.2), mix(glass, WHITE, 0.72))
    canvas.rectangle((x + 0.003, y - height * 0.64, x + 0.006, y - height * 0.05), mix(glass, WHITE, 0.45))


def _pendant(canvas: Canvas, x: float) -> None:
    lamp = canvas.palette.lamp
    canvas.line([(x, 0), (x, 0.215)], BLACK, 0.003)
    canvas.polygon(
        [(x - 0.012, 0.21), (x + 0.012, 0.21), (x + 0.042, 0.262), (x - 0.042, 0.262)],
        darker(canvas.palette.neon, 0.45),
    )
    canvas.disc(x, 0.266, 0.014, mix(lamp, WHITE, 0.7))
    canvas.glow(x, 0.27, 0.16, lamp, 0.7)
    canvas.beam([(x - 0.03, 0.27), (x + 0.03, 0.27), (x + 0.12, 0.68), (x - 0.12, 0.68)], lamp, 0.13, blur=4)


def _glasses(canvas: Canvas) -> None:
    for _ in range(7):
        x, drink = canvas.rng.uniform(0.06, 0.92), canvas.rng.choice(((236, 160, 60), (214, 70, 84), (150, 210, 190)))
        canvas.polygon([(x - 0.017, 0.578), (x + 0.017, 0.578), (x, 0.622)], mix(drink, WHITE, 0.25))
        canvas.line([(x, 0.62), (x, 0.662)], (230, 228, 220), 0.003)
        canvas.line([(x - 0.011, 0.663), (x + 0.011, 0.663)], (230, 228, 220), 0.004)


def _stool(canvas: Canvas, x: float) -> None:
    seat = darker(canvas.palette.neon, 0.35)
    for lean in (-0.028, 0.028):
        canvas.line([(x + lean * 0.6, 0.80), (x + lean * 1.25, 1.0)], BLACK, 0.006)
    canvas.line([(x - 0.028, 0.92), (x + 0.028, 0.92)], BLACK, 0.004)
    left, top, right, bottom = canvas.box(x - 0.045, 0.775, x + 0.045, 0.812)
    canvas.draw.rounded_rectangle((left, top, right, bottom), (bottom - top) // 2, seat)
    canvas.rectangle((x - 0.03, 0.78, x + 0.03, 0.785), mix(seat, WHITE, 0.35))


def _performers(canvas: Canvas) -> None:
    for x in (0.36, 0.5, 0.64):
        lean = canvas.rng.uniform(-0.01, 0.01)
        canvas.disc(x + lean, 0.515, 0.014, BLACK)
        canvas.polygon([(x - 0.022, 0.545), (x + 0.022, 0.545), (x + 0.018, 0.68), (x - 0.018, 0.68)], BLACK)
        canvas.line([(x - 0.02, 0.60), (x + 0.05, 0.565)], BLACK, 0.008)
        canvas.glow(x, 0.53, 0.09, canvas.palette.lamp, 0.5)


def _crowd(canvas: Canvas, y: float, size: float, colour: RGB) -> None:
    ratio = canvas.width / canvas.height
    for head in range(int(1.05 / (size * 2.2)) + 1):
        x = head * size * 2.2 + canvas.rng.uniform(-0.3, 0.3) * size
        top = y + canvas.rng.uniform(-0.012, 0.016)
        canvas.disc(x, top, size * 0.62, colour)
        canvas.polygon(
            [
                (x - size * 1.15, 1),
                (x - size * 1.1, top + size * 1.5 * ratio),
                (x - size * 0.5, top + size * 0.75 * ratio),
                (x + size * 0.5, top + size * 0.75 * ratio),
                (x + size * 1.1, top + size * 1.5 * ratio),
                (x + size * 1.15, 1),
            ],
            colour,
        )
        if canvas.chance(0.3):
            _raised_hand(canvas, x + size, top, size, colour)


def _raised_hand(canvas: Canvas, x: float, y: float, size: float, colour: RGB) -> None:
    ratio = canvas.width / canvas.height
    tip = (x + size * canvas.rng.uniform(-0.5, 0.9), y - size * canvas.rng.uniform(0.9, 1.9) * ratio)
    canvas.line([(x, y + size * 2 * ratio), tip], colour, size * 0.36)
    canvas.disc(*tip, size * 0.27, colour)


def _bricks(canvas: Canvas) -> None:
    wall = mix(canvas.palette.wall, (126, 62, 48), 0.45)
    canvas.gradient((0, 0, 1, 1), darker(wall, 0.72), darker(wall, 0.55), darker(wall, 0.75))
    rows, columns = 26, 14
    for row in range(rows):
        shift = -0.5 * (row % 2)
        for column in range(columns + 1):
            left, top = (column + shift) / columns, row / rows
            shade = darker(wall, canvas.rng.uniform(0.30, 0.52))
            canvas.rectangle((left + 0.0025, top + 0.003, left + 1 / columns - 0.0025, top + 1 / rows - 0.003), shade)
