"""Pictures of a venue from outside: the front at dusk, the city by night."""

from __future__ import annotations

from venue_images.sandbox.painting import RGB, Canvas, darker, mix

STREET = 0.80
WATER = 0.74
WHITE: RGB = (255, 250, 240)


def front(canvas: Canvas, name: str) -> None:
    """The façade at dusk: lit windows, a marquee with the name, a wet street."""
    sky = canvas.palette.sky
    canvas.gradient((0, 0, 1, STREET), sky[0], sky[1], sky[2])
    canvas.glow(canvas.rng.choice((0.12, 0.88)), STREET - 0.1, 0.45, sky[2], 0.55)
    _clouds(canvas)
    _skyline(canvas, STREET, 0.22, mix(sky[1], sky[2], 0.25), windows=False)
    _skyline(canvas, STREET, 0.12, darker(sky[1], 0.35), windows=True)
    _building(canvas)
    _marquee(canvas, name)
    _doors(canvas)
    canvas.mirror(STREET, 1, darker(canvas.palette.sky[0], 0.55), 0.5)
    canvas.rectangle((0, STREET, 1, STREET + 0.012), darker(canvas.palette.wall, 0.5))
    for x in (0.08, 0.92):
        _street_lamp(canvas, x)
    canvas.shine()
    _passers_by(canvas)


def night(canvas: Canvas, name: str) -> None:
    """The venue among the towers of its city, over water, under the moon."""
    sky = canvas.palette.sky
    canvas.gradient((0, 0, 1, WATER), darker(sky[0], 0.45), sky[0], mix(sky[0], sky[1], 0.85))
    _stars(canvas)
    _moon(canvas)
    canvas.glow(0.5, WATER, 0.7, sky[1], 0.6)
    _skyline(canvas, WATER, 0.40, mix(darker(sky[0], 0.2), sky[1], 0.35), windows=False)
    _skyline(canvas, WATER, 0.27, darker(sky[0], 0.35), windows=True)
    _rooftop_sign(canvas, name)
    canvas.mirror(WATER, 1, darker(sky[0], 0.5), 0.42)
    _ripples(canvas)


def _clouds(canvas: Canvas) -> None:
    for _ in range(9):
        x, y = canvas.rng.random(), canvas.rng.uniform(0.08, 0.42)
        for step in range(5):
            canvas.glow(x + step * 0.035, y + canvas.rng.uniform(-0.006, 0.006), 0.05, canvas.palette.sky[2], 0.10)


def _skyline(canvas: Canvas, ground: float, height: float, colour: RGB, *, windows: bool) -> None:
    x = -0.02
    while x < 1:
        width = canvas.rng.uniform(0.04, 0.10)
        top = ground - height * canvas.rng.uniform(0.45, 1.0)
        canvas.rectangle((x, top, x + width, ground), colour)
        if canvas.chance(0.25):
            canvas.line([(x + width / 2, top - height * 0.22), (x + width / 2, top)], colour, 0.002)
        if windows:
            _tower_windows(canvas, (x, top, x + width, ground), colour)
        x += width + canvas.rng.uniform(-0.004, 0.008)


def _tower_windows(canvas: Canvas, box: tuple[float, float, float, float], wall: RGB) -> None:
    left, top, right, bottom = box
    columns = max(2, int((right - left) / 0.014))
    step = (right - left) / columns
    y = top + 0.012
    while y < bottom - 0.02:
        for column in range(columns):
            if canvas.chance(0.42):
                x = left + (column + 0.28) * step
                colour = mix(wall, canvas.palette.lamp, canvas.rng.uniform(0.35, 0.8))
                canvas.rectangle((x, y, x + step * 0.45, y + 0.009), colour)
        y += 0.021


def _building(canvas: Canvas) -> None:
    wall = canvas.palette.wall
    roof = canvas.rng.choice((_pediment, _dome, _parapet))
    roof(canvas)
    canvas.gradient((0.17, 0.27, 0.83, STREET), mix(wall, canvas.palette.sky[2], 0.28), wall, darker(wall, 0.35))
    canvas.rectangle((0.155, 0.255, 0.845, 0.285), mix(wall, canvas.palette.sky[2], 0.42))
    canvas.rectangle((0.155, 0.283, 0.845, 0.290), darker(wall, 0.45))
    columns = canvas.rng.choice((5, 6, 7, 8))
    step = 0.62 / columns
    arched = canvas.chance(0.6)
    for column in range(columns):
        _window(canvas, 0.19 + (column + 0.22) * step, 0.335, step * 0.56, 0.135, arched=arched)
    for column in range(columns + 1):
        x = 0.19 + column * step
        canvas.rectangle((x - 0.006, 0.29, x + 0.006, 0.52), mix(wall, canvas.palette.sky[2], 0.22))


def _pediment(canvas: Canvas) -> None:
    wall = canvas.palette.wall
    canvas.polygon([(0.15, 0.26), (0.5, 0.13), (0.85, 0.26)], mix(wall, canvas.palette.sky[2], 0.42))
    canvas.polygon([(0.21, 0.25), (0.5, 0.15), (0.79, 0.25)], mix(wall, canvas.palette.sky[1], 0.25))
    canvas.disc(0.5, 0.212, 0.02, canvas.palette.lamp)
    canvas.glow(0.5, 0.212, 0.06, canvas.palette.lamp, 0.5)


def _dome(canvas: Canvas) -> None:
    wall = canvas.palette.wall
    canvas.disc(0.5, 0.26, 0.115, mix(wall, canvas.palette.sky[2], 0.35))
    canvas.disc(0.485, 0.255, 0.095, mix(wall, canvas.palette.sky[2], 0.48))
    top = 0.26 - 0.115 * canvas.width / canvas.height
    canvas.rectangle((0.492, top - 0.045, 0.508, top + 0.005), mix(wall, canvas.palette.sky[2], 0.35))
    canvas.glow(0.5, top - 0.045, 0.03, canvas.palette.lamp, 0.9)


def _parapet(canvas: Canvas) -> None:
    wall = canvas.palette.wall
    canvas.rectangle((0.30, 0.185, 0.70, 0.27), mix(wall, canvas.palette.sky[2], 0.30))
    canvas.rectangle((0.285, 0.175, 0.715, 0.192), mix(wall, canvas.palette.sky[2], 0.45))
    for x in (0.22, 0.5, 0.78):
        canvas.line([(x, 0.10), (x, 0.26)], darker(wall, 0.2), 0.003)
        canvas.polygon([(x, 0.10), (x + 0.05, 0.115), (x, 0.135)], canvas.palette.neon)


def _window(canvas: Canvas, x: float, y: float, width: float, height: float, *, arched: bool) -> None:
    lamp = canvas.palette.lamp
    share = canvas.rng.choice((0.06, 0.12, 0.2, 0.7))
    bright, deep = mix(lamp, darker(canvas.palette.wall, 0.4), share), mix(lamp, canvas.palette.sky[1], share)
    frame = darker(canvas.palette.wall, 0.5)
    canvas.rectangle((x - 0.005, y - 0.006, x + width + 0.005, y + height + 0.006), frame)
    if arched:
        canvas.disc(x + width / 2, y, width / 2 + 0.005, frame)
        canvas.disc(x + width / 2, y, width / 2, bright)
    canvas.gradient((x, y, x + width, y + height), bright, bright, mix(deep, (150, 70, 30), 0.3))
    canvas.line([(x + width / 2, y - width / 2), (x + width / 2, y + height)], frame, 0.003)
    canvas.line([(x, y + height * 0.4), (x + width, y + height * 0.4)], frame, 0.003)
    canvas.glow(x + width / 2, y + height / 2, width * 1.1, lamp, 0.34 * (1 - share))


def _marquee(canvas: Canvas, name: str) -> None:
    neon, lamp = canvas.palette.neon, canvas.palette.lamp
    canvas.rectangle((0.20, 0.520, 0.80, 0.645), mix(neon, (0, 0, 0), 0.25))
    canvas.gradient((0.208, 0.530, 0.792, 0.635), darker(canvas.palette.wall, 0.72), darker(canvas.palette.wall, 0.85))
    canvas.lettering(name, (0.235, 0.540, 0.765, 0.625), mix(neon, WHITE, 0.75), neon=neon)
    bulbs = 34
    for bulb in range(bulbs + 1):
        x = 0.204 + bulb * 0.592 / bulbs
        for y in (0.525, 0.640):
            canvas.disc(x, y, 0.0035, mix(lamp, WHITE, 0.5))
    canvas.beam([(0.20, 0.65), (0.80, 0.65), (0.86, STREET), (0.14, STREET)], lamp, 0.30, blur=4)


def _doors(canvas: Canvas) -> None:
    lamp, wall = canvas.palette.lamp, canvas.palette.wall
    for x in (0.255, 0.365, 0.475, 0.585, 0.695):
        canvas.rectangle((x - 0.008, 0.662, x + 0.058, STREET), darker(wall, 0.6))
        canvas.gradient((x, 0.675, x + 0.05, STREET), mix(lamp, WHITE, 0.25), lamp, mix(lamp, (120, 60, 30), 0.5))
        canvas.line([(x + 0.025, 0.675), (x + 0.025, STREET)], darker(wall, 0.5), 0.004)
        canvas.glow(x + 0.025, 0.75, 0.06, lamp, 0.3)


def _street_lamp(canvas: Canvas, x: float) -> None:
    post = (14, 12, 20)
    canvas.line([(x, 0.46), (x, STREET + 0.03)], post, 0.006)
    canvas.rectangle((x - 0.014, 0.43, x + 0.014, 0.47), post)
    canvas.disc(x, 0.452, 0.011, mix(canvas.palette.lamp, WHITE, 0.6))
    canvas.glow(x, 0.452, 0.12, canvas.palette.lamp, 0.75)


def _passers_by(canvas: Canvas) -> None:
    for _ in range(canvas.rng.randint(4, 9)):
        x, size = canvas.rng.uniform(0.14, 0.86), canvas.rng.uniform(0.9, 1.15)
        feet, height = STREET + canvas.rng.uniform(0.02, 0.05), 0.105 * size
        coat = darker(canvas.palette.wall, canvas.rng.uniform(0.70, 0.88))
        canvas.disc(x, feet - height, 0.0088 * size, coat)
        for step in (-0.006, 0.006):
            canvas.line([(x, feet - height * 0.5), (x + step * size, feet)], coat, 0.0055 * size)
        left, top, right, bottom = canvas.box(
            x - 0.0115 * size, feet - height * 0.85, x + 0.0115 * size, feet - height * 0.32
        )
        canvas.draw.rounded_rectangle((left, top, right, bottom), (right - left) // 3, coat)


def _stars(canvas: Canvas) -> None:
    for _ in range(150):
        x, y = canvas.rng.random(), canvas.rng.random() ** 1.6 * 0.5
        canvas.disc(x, y, canvas.rng.choice((0.0006, 0.0008, 0.0014)), mix(canvas.palette.sky[0], WHITE, 0.75))


def _moon(canvas: Canvas) -> None:
    x, y = canvas.rng.uniform(0.12, 0.3), canvas.rng.uniform(0.12, 0.22)
    canvas.glow(x, y, 0.22, (200, 205, 235), 0.5)
    canvas.disc(x, y, 0.042, (238, 236, 224))
    for dx, dy, radius in ((-0.012, -0.008, 0.010), (0.014, 0.010, 0.007), (0.004, -0.026, 0.006)):
        canvas.disc(x + dx, y + dy, radius, (222, 219, 206))


def _rooftop_sign(canvas: Canvas, name: str) -> None:
    wall, neon = darker(canvas.palette.wall, 0.5), canvas.palette.neon
    for inset, top in ((0.07, 0.505), (0.0, 0.575)):
        box = (0.21 + inset, top, 0.79 - inset, WATER)
        canvas.gradient(box, mix(wall, neon, 0.16), wall, mix(wall, canvas.palette.lamp, 0.18))
        canvas.rectangle((box[0] - 0.006, top - 0.006, box[2] + 0.006, top + 0.004), mix(wall, neon, 0.35))
        _tower_windows(canvas, (box[0] + 0.012, top + 0.012, box[2] - 0.012, WATER - 0.045), wall)
    for column in range(13):
        x = 0.235 + column * 0.0425
        canvas.rectangle((x, WATER - 0.04, x + 0.022, WATER - 0.004), mix(canvas.palette.lamp, wall, 0.12))
        canvas.glow(x + 0.011, WATER - 0.015, 0.035, canvas.palette.lamp, 0.35)
    for x in (0.31, 0.44, 0.56, 0.69):
        canvas.line([(x, 0.45), (x, 0.50)], darker(wall, 0.3), 0.005)
    canvas.rectangle((0.236, 0.341, 0.764, 0.469), mix(neon, (0, 0, 0), 0.4))
    canvas.rectangle((0.24, 0.345, 0.76, 0.465), darker(canvas.palette.sky[0], 0.72))
    canvas.lettering(name, (0.26, 0.355, 0.74, 0.455), mix(neon, WHITE, 0.7), neon=neon)
    canvas.glow(0.5, 0.42, 0.34, neon, 0.25)


def _ripples(canvas: Canvas) -> None:
    for _ in range(90):
        y = canvas.rng.uniform(WATER + 0.01, 1)
        x, length = canvas.rng.random(), canvas.rng.uniform(0.02, 0.09) * (0.4 + y - WATER) * 2
        shade = canvas.rng.choice((canvas.palette.neon, canvas.palette.lamp, canvas.palette.sky[1]))
        canvas.line([(x, y), (x + length, y)], mix(darker(canvas.palette.sky[0], 0.3), shade, 0.22), 0.0016)
