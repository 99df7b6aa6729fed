from __future__ import annotations

import contextlib
import io
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps, features

from venue_images.errors import ErrorType, UploadError
from venue_images.image_check import ImageFacts, inspect

CAP = 50_000_000


def picture(mode: str = "RGB", width: int = 37, height: int = 23) -> Image.Image:
    """A picture with enough going on that every encoder has something to write."""
    return Image.radial_gradient("L").resize((width, height)).convert(mode)


def encode(image: Image.Image, image_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *, interlaced: bool = False) -> bytes:
    """A grey PNG that claims this size and holds one pixel."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, interlaced)
    rest = chunk(b"IDAT", zlib.compress(b"\0\x7f")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rest


def photos() -> dict[str, tuple[bytes, str]]:
    frames = [picture(), ImageOps.invert(picture())]
    thumbnail = encode(picture(width=8, height=8), "JPEG")
    encoded = {
        "baseline": (encode(picture(), "JPEG"), "jpg"),
        "progressive": (encode(picture(), "JPEG", progressive=True), "jpg"),
        "restart markers": (encode(picture(), "JPEG", restart_marker_blocks=1), "jpg"),
        "grey": (encode(picture("L"), "JPEG"), "jpg"),
        "cmyk": (encode(picture("CMYK"), "JPEG"), "jpg"),
        "thumbnail": (encode(picture(), "JPEG", exif=b"Exif\0\0" + thumbnail, comment=b"\xff\xd9"), "jpg"),
        "rgba": (encode(picture("RGBA"), "PNG"), "png"),
        "palette": (encode(picture("P"), "PNG"), "png"),
        "gif": (encode(picture("P"), "GIF"), "gif"),
        "animated gif": (encode(frames[0], "GIF", save_all=True, append_images=frames[1:], loop=0), "gif"),
        "webp": (encode(picture(), "WEBP"), "webp"),
        "lossless webp": (encode(picture("RGBA"), "WEBP", lossless=True), "webp"),
        "webp with profile": (encode(picture("RGBA"), "WEBP", icc_profile=b"p" * 99), "webp"),
        "animated webp": (encode(frames[0], "WEBP", save_all=True, append_images=frames[1:]), "webp"),
    }
    if features.check("avif"):
        encoded["avif"] = (encode(picture("RGBA"), "AVIF"), "avif")
        encoded["animated avif"] = (encode(frames[0], "AVIF", save_all=True, append_images=frames[1:]), "avif")
    return encoded


PHOTOS = photos()
each_photo = pytest.mark.parametrize("name", PHOTOS)


def refusal(body: bytes, max_pixels: int = CAP) -> UploadError:
    with pytest.raises(UploadError) as caught:
        inspect(body, max_pixels=max_pixels)
    assert "\n" not in caught.value.message
    return caught.value


@each_photo
def test_it_tells_type_and_size_of_a_whole_photo(name: str) -> None:
    body, extension = PHOTOS[name]

    facts = inspect(body, max_pixels=CAP)

    subtype = "jpeg" if extension == "jpg" else extension
    assert facts == ImageFacts(f"image/{subtype}", extension, 37, 23)


def test_it_reads_an_interlaced_png() -> None:
    body = png(1, 1, interlaced=True)
    Image.open(io.BytesIO(body)).load()

    assert inspect(body, max_pixels=CAP) == ImageFacts("image/png", "png", 1, 1)


@each_photo
def test_it_refuses_a_photo_cut_at_any_byte(name: str) -> None:
    body, _ = PHOTOS[name]

    types = {refusal(body[:cut]).error_type for cut in range(len(body))}

    assert types == {ErrorType.CORRUPT_IMAGE, ErrorType.NOT_AN_IMAGE}


@pytest.mark.parametrize("name", ["baseline", "progressive", "restart markers", "rgba", "gif", "animated webp"])
def test_it_refuses_a_photo_whose_second_half_is_blank(name: str) -> None:
    body, _ = PHOTOS[name]
    half = len(body) // 2

    assert refusal(body[:half] + bytes(len(body) - half)).error_type == ErrorType.CORRUPT_IMAGE


@each_photo
def test_it_allows_bytes_behind_the_end(name: str) -> None:
    body, extension = PHOTOS[name]

    if extension == "avif":
        assert refusal(body + b"trailing bytes").error_type == ErrorType.CORRUPT_IMAGE
    else:
        assert inspect(body + b"trailing bytes", max_pixels=CAP).extension == extension


@each_photo
def test_it_refuses_more_pixels_than_allowed(name: str) -> None:
    body, _ = PHOTOS[name]

    assert inspect(body, max_pixels=37 * 23)
    assert refusal(body, max_pixels=37 * 23 - 1).error_type == ErrorType.TOO_MANY_PIXELS


def bombs() -> dict[str, bytes]:
    jpeg = encode(picture(), "JPEG")
    frame = jpeg.index(b"\xff\xc0") + 5
    lossless = encode(picture(), "WEBP", lossless=True)
    return {
        "png": png(50_000, 50_000),
        "png of the largest size": png(2**32 - 1, 2**32 - 1),
        "png that is nothing but a header": png(50_000, 50_000)[:33],
        "jpeg": jpeg[:frame] + struct.pack(">HH", 65_500, 65_500) + jpeg[frame + 4 :],
        "gif": b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b";",
        "gif with a large frame": b"GIF89a\1\0\1\0\0\0\0," + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0),
        "webp": lossless[:21] + struct.pack("<I", 0x0FFFFFFF) + lossless[25:],
        "webp canvas": b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff" * 6,
    }


@pytest.mark.parametrize("name", bombs())
def test_it_refuses_a_bomb_by_its_header(name: str) -> None:
    assert refusal(bombs()[name]).error_type == ErrorType.TOO_MANY_PIXELS


@pytest.mark.parametrize(
    ("body", "called"),
    [
        (b"", "an empty body"),
        (b"<!DOCTYPE html><title>404</title>", "an HTML page"),
        (b"\xef\xbb\xbf\r\n <HTML>", "an HTML page"),
        (b'{"error": "no"}', "JSON"),
        (b'<?xml version="1.0"?><svg xmlns="x"/>', "an SVG drawing"),
        (b"<svg/>", "an SVG drawing"),
        (b"<?xml version='1.0'?><Error/>", "an XML document"),
        (encode(picture(), "TIFF"), "a TIFF picture"),
        (encode(picture(), "BMP"), "a BMP picture"),
        (encode(picture(), "ICO"), "an icon"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC picture"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", "a film"),
        (b"%PDF-1.7", "a PDF document"),
        (b"not a picture", "unknown content"),
        (bytes(4096), "unknown content"),
    ],
)
def test_it_names_what_is_no_photo(body: bytes, called: str) -> None:
    error = refusal(body)

    assert error.error_type == ErrorType.NOT_AN_IMAGE
    assert called in error.message


def test_it_knows_an_avif_by_any_of_its_brands() -> None:
    body = b"\0\0\0\x18ftypmif1\0\0\0\0miafavif"

    assert refusal(body).error_type == ErrorType.CORRUPT_IMAGE


@pytest.mark.parametrize("magic", [b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\x10\0\0\0WEBPVP8 "])
def test_it_refuses_a_magic_with_nonsense_behind_it(magic: bytes) -> None:
    nonsense = bytes(range(7, 255)) * 40

    assert refusal(magic + nonsense, max_pixels=2**70).error_type == ErrorType.CORRUPT_IMAGE


def test_it_refuses_a_png_with_one_flipped_bit() -> None:
    body = bytearray(PHOTOS["rgba"][0])
    body[len(body) // 2] ^= 1

    assert refusal(bytes(body)).error_type == ErrorType.CORRUPT_IMAGE


@pytest.mark.parametrize(
    "body",
    [
        png(0, 5),
        png(1, 1).replace(b"IHDR", b"IHDX"),
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)) + chunk(b"IEND", b""),
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8\xff\xda\0\2\xff\xd9",
        b"\xff\xd8" + b"\xff\xc0\0\x0b\x08\0\1\0\1\1\1\x11\0" * 2 + b"\xff\xda\0\2\xff\xd9",
        b"\xff\xd8\xff\xc0\0\x0b\x08\0\1\0\1\1\1\x11\0\xff\xd9",
        b"\xff\xd8\xff\xc0\0\1",
        b"\xff\xd8\xff\x02\0\2",
        b"GIF89a\1\0\1\0\0\0\0;",
        b"GIF89a\0\0\0\0\0\0\0,\0\0\0\0\0\0\0\0\0\2\0;",
        b"RIFF\x0c\0\0\0WEBPJUNK\0\0\0\0",
        b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\0\0\0\x10ftypavif\0\0\0\0\0\0\0\x08meta\0\0\0\x08mdat",
        b"\0\0\0\x10ftypavif\0\0\0\0\0\0\0\x0cmeta\0\0\0\0\0\0\0\x08mdat",
        b"\0\0\0\x10ftypavif\0\0\0\0\0\0\0\1meta\0\0\0\0\0\0\0\x02",
    ],
    ids=repr,
)
def test_it_refuses_a_photo_that_lacks_what_makes_it_one(body: bytes) -> None:
    assert refusal(body).error_type == ErrorType.CORRUPT_IMAGE


def survives(body: bytes) -> None:
    with contextlib.suppress(UploadError):
        facts = inspect(body, max_pixels=CAP)
        assert 0 < facts.width * facts.height <= CAP


MAGICS = [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\xff\0\0\0WEBP", b"\0\0\0\x10ftypavif\0\0\0\0"]


@given(magic=st.sampled_from(MAGICS), rest=st.binary(max_size=300))
def test_arbitrary_bytes_never_raise_anything_else(magic: bytes, rest: bytes) -> None:
    survives(magic + rest)


@given(
    name=st.sampled_from(sorted(PHOTOS)),
    changes=st.lists(st.tuples(st.integers(0, 4000), st.binary(min_size=1, max_size=9)), min_size=1, max_size=5),
    cut=st.integers(0, 2000),
)
def test_a_garbled_photo_never_raises_anything_else(name: str, changes: list[tuple[int, bytes]], cut: int) -> None:
    body = bytearray(PHOTOS[name][0])
    for place, replacement in changes:
        start = place % len(body)
        body[start : start + len(replacement)] = replacement
    survives(bytes(body))
    survives(bytes(body[: cut % len(body)]))
