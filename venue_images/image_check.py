"""Tells what a downloaded body is, and whether all of it is there, without decoding a pixel.

Each reader walks the structure of one format from the first byte to the last and yields the size in pixels as soon as it
is known, so that a bomb is refused before anything is unpacked. Sizes come from the file's own header. A photo whose
pixel data is garbled but well framed passes: only decoding would tell. So do bytes behind the end of the picture,
which cameras put there.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from venue_images.errors import ErrorType, UploadError

#: Width and height, in pixels.
Size = tuple[int, int]


@dataclass(frozen=True)
class ImageFacts:
    """What the content says of itself; the extension has no dot."""

    content_type: str
    extension: str
    width: int
    height: int


def inspect(body: bytes, *, max_pixels: int) -> ImageFacts:
    """The real type and size of a whole picture.

    Raises :class:`UploadError` with ``not_an_image``, ``too_many_pixels`` or ``corrupt_image``.
    """
    kind = _kind_of(body)
    width = height = 0
    try:
        for width, height in kind.read(body):
            if width * height > max_pixels:
                raise UploadError(ErrorType.TOO_MANY_PIXELS, f"{width} × {height} pixels, more than {max_pixels}")
    except (struct.error, IndexError):
        raise _corrupt("it ends too early") from None
    if not width or not height:
        raise _corrupt("it has no size")
    return ImageFacts(kind.content_type, kind.extension, width, height)


def _corrupt(reason: str) -> UploadError:
    return UploadError(ErrorType.CORRUPT_IMAGE, f"the picture is damaged: {reason}")


# JPEG: segments that begin with a marker; after a start of scan, data in which 0xFF is followed by 0 or a restart marker.

_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff])")
_JPEG_END_OF_DATA = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_JPEG_END, _JPEG_SCAN = 0xD9, 0xDA
#: The length of a segment counts the two bytes that tell it.
_JPEG_LENGTH_FIELD = 2
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
#: Tables, scans, application data and comments: everything else has no place in a photo.
_JPEG_SEGMENTS = _JPEG_FRAMES | frozenset({0xC4, 0xCC}) | frozenset(range(0xDA, 0xDE)) | frozenset(range(0xE0, 0xFF))


def _read_jpeg(body: bytes) -> Iterator[Size]:
    position, frames, scans = 2, 0, 0
    while True:
        marker, position = _jpeg_marker(body, position)
        if marker == _JPEG_END and scans:
            return
        (length,) = struct.unpack_from(">H", body, position)
        if marker not in _JPEG_SEGMENTS or length < _JPEG_LENGTH_FIELD:
            raise _corrupt(f"segment {marker:#x} of {length} bytes")
        if marker in _JPEG_FRAMES:
            frames += 1
            height, width = struct.unpack_from(">HH", body, position + 3)
            yield width, height
        position += length
        if marker == _JPEG_SCAN:
            scans += 1
            position = _end_of_scan(body, position)
        if frames > 1 or (scans and not frames):
            raise _corrupt("its frame header is not where it belongs")


def _jpeg_marker(body: bytes, position: int) -> tuple[int, int]:
    """The marker at ``position``, and where it ends."""
    match = _JPEG_MARKER.match(body, position)
    if match is None:
        raise _corrupt("a segment does not end where it should")
    return body[match.end() - 1], match.end()


def _end_of_scan(body: bytes, position: int) -> int:
    match = _JPEG_END_OF_DATA.search(body, position)
    if match is None:
        raise _corrupt("it ends in the middle of a scan")
    return match.start()


# PNG: chunks with a checksum each.

_PNG_FIRST_CHUNK = 8


def _read_png(body: bytes) -> Iterator[Size]:
    position, kind, data_seen = _PNG_FIRST_CHUNK, b"", False
    view = memoryview(body)
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", body, position)
        end = position + 8 + length
        if position == _PNG_FIRST_CHUNK:
            if (length, kind) != (13, b"IHDR"):
                raise _corrupt("its header is missing")
            yield struct.unpack_from(">II", body, 16)
        (checksum,) = struct.unpack_from(">I", body, end)
        if zlib.crc32(view[position + 4 : end]) != checksum:
            raise _corrupt(f"a chunk at byte {position} fails its checksum")
        data_seen |= kind == b"IDAT"
        position = end + 4
    if not data_seen:
        raise _corrupt("it has no picture data")


# GIF: blocks, each followed by sub-blocks of at most 255 bytes.

_GIF_PICTURE, _GIF_EXTENSION, _GIF_END = 0x2C, 0x21, 0x3B


def _read_gif(body: bytes) -> Iterator[Size]:
    width, height, flags = struct.unpack_from("<HHB", body, 6)
    yield width, height
    position, pictures = 13 + _colour_table(flags), 0
    while body[position] != _GIF_END:
        if body[position] == _GIF_PICTURE:
            left, top, across, down, flags = struct.unpack_from("<HHHHB", body, position + 1)
            width, height, pictures = max(width, left + across), max(height, top + down), pictures + 1
            yield width, height
            position += 11 + _colour_table(flags)
        elif body[position] == _GIF_EXTENSION:
            position += 2
        else:
            raise _corrupt(f"byte {position} begins no block")
        while length := body[position]:
            position += length + 1
        position += 1
    if not pictures:
        raise _corrupt("it has no picture data")


def _colour_table(flags: int) -> int:
    """The bytes of the colour table that these flags announce."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


# WebP: RIFF chunks, padded to an even length.


def _read_webp(body: bytes) -> Iterator[Size]:
    (riff_length,) = struct.unpack_from("<I", body, 4)
    end, position, data_seen = 8 + riff_length, 12, False
    if len(body) < end:
        raise _corrupt("it ends too early")
    yield _webp_size(body)
    while position < end:
        kind, length = struct.unpack_from("<4sI", body, position)
        data_seen |= kind in (b"VP8 ", b"VP8L", b"ANMF")
        position += 8 + length
        if position > end or not kind.strip().isalnum():
            raise _corrupt("a chunk has no name or is longer than the file")
        position += length % 2
    if not data_seen:
        raise _corrupt("it has no picture data")


def _webp_size(body: bytes) -> Size:
    kind = body[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[24:27], "little"), 1 + int.from_bytes(body[27:30], "little")
    if kind == b"VP8L" and body[20:21] == b"\x2f":
        (bits,) = struct.unpack_from("<I", body, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and body[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", body, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise _corrupt("its header is missing")


# AVIF: boxes within boxes (ISO 14496-12); the picture is the largest ``ispe`` property, tiles and thumbnails are smaller.


def _read_avif(body: bytes) -> Iterator[Size]:
    kinds = set()
    for kind, start, end in _boxes(body, 0, len(body)):
        kinds.add(kind)
        if kind == b"meta":
            yield _largest_item(body, start + 4, end)
    if not kinds >= {b"meta", b"mdat"}:
        raise _corrupt("it has no picture data")


def _largest_item(body: bytes, start: int, end: int) -> Size:
    inner = [(start, end)]
    for wanted in (b"iprp", b"ipco", b"ispe"):
        inner = [(first, last) for span in inner for kind, first, last in _boxes(body, *span) if kind == wanted]
    sizes: list[Size] = [struct.unpack_from(">II", body, first + 4) for first, _ in inner]
    return max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))


def _boxes(body: bytes, position: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, first byte and end of the content of each box; one of length 0 reaches to the end."""
    while position < end:
        length, kind = struct.unpack_from(">I4s", body, position)
        header = 8
        if length == 1:
            (length,), header = struct.unpack_from(">Q", body, position + 8), 16
        last = position + length if length else end
        if last < position + header or last > end or not kind.strip().isalnum():
            raise _corrupt(f"the box at byte {position} has no name or is longer than the file")
        yield kind, position + header, last
        position = last


@dataclass(frozen=True)
class _Kind:
    content_type: str
    extension: str
    read: Callable[[bytes], Iterator[Size]]


_AVIF = _Kind("image/avif", "avif", _read_avif)
_WEBP = _Kind("image/webp", "webp", _read_webp)
_STORED: dict[bytes, _Kind] = {
    b"\xff\xd8\xff": _Kind("image/jpeg", "jpg", _read_jpeg),
    b"\x89PNG\r\n\x1a\n": _Kind("image/png", "png", _read_png),
    b"GIF87a": _Kind("image/gif", "gif", _read_gif),
    b"GIF89a": _Kind("image/gif", "gif", _read_gif),
}
#: How other things begin (lower case, blanks in front ignored), and what they are called in a message.
_OTHERS = {
    b"ii*\x00": "a TIFF picture",
    b"mm\x00*": "a TIFF picture",
    b"bm": "a BMP picture",
    b"\x00\x00\x01\x00": "an icon",
    b"\x00\x00\x00\x0cjxl ": "a JPEG XL picture",
    b"\xff\x0a": "a JPEG XL picture",
    b"\x00\x00\x00\x0cjp  ": "a JPEG 2000 picture",
    b"8bps": "a Photoshop file",
    b"%pdf": "a PDF document",
    b"\x1f\x8b": "gzip data",
    b"pk\x03\x04": "a ZIP archive",
    b"<svg": "an SVG drawing",
    b"<!doctype html": "an HTML page",
    b"<html": "an HTML page",
    b"<head": "an HTML page",
    b"<?xml": "an XML document",
    b"{": "JSON",
    b"[": "JSON",
}


def _kind_of(body: bytes) -> _Kind:
    for magic, kind in _STORED.items():
        if body.startswith(magic):
            return kind
    if body.startswith(b"RIFF") and body[8:12] == b"WEBP":
        return _WEBP
    if body[4:8] == b"ftyp" and {b"avif", b"avis"} & _brands(body):
        return _AVIF
    raise UploadError(ErrorType.NOT_AN_IMAGE, f"{_name_of(body)}, not a JPEG, PNG, WebP, GIF or AVIF picture")


def _brands(body: bytes) -> set[bytes]:
    """The brands of the leading ``ftyp`` box: its own, and those that it is compatible with."""
    end = min(int.from_bytes(body[:4], "big"), 256)
    return {body[8:12], *(body[start : start + 4] for start in range(16, end, 4))}


def _name_of(body: bytes) -> str:
    if not body:
        return "an empty body"
    if body[4:8] == b"ftyp":
        heic = {b"heic", b"heix", b"heif", b"hevc", b"mif1", b"msf1"} & _brands(body)
        return "a HEIC picture" if heic else "a film"
    start = body[:512].removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n").lower()
    if b"<svg" in start:
        return "an SVG drawing"
    return next((name for magic, name in _OTHERS.items() if start.startswith(magic)), "unknown content")
