import struct
import time
import tracemalloc
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from app.errors import InvalidImage, TooManyPixels, UnsupportedImage
from app.refining import images

MAX_PIXELS = 1_000_000
RNG = np.random.default_rng(7)
RGB = RNG.integers(0, 256, (13, 17, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (13, 17), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (13, 17), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (13, 17), dtype=np.uint16)


def saved(picture, kind, **options):
    buffer = BytesIO()
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def decode(data, filename="a.png", max_pixels=MAX_PIXELS):
    return images.decode(data, filename=filename, max_pixels=max_pixels)


def png_chunk(name, body):
    return struct.pack(">L", len(body)) + name + body + struct.pack(">L", zlib.crc32(name + body))


def png_header(width, height, depth=8, colour=0):
    return b"\x89PNG\r\n\x1a\n" + png_chunk(
        b"IHDR", struct.pack(">LLBBBBB", width, height, depth, colour, 0, 0, 0)
    )


def deep_rgb_png(colour=2):
    samples = {2: 3, 4: 2, 6: 4}[colour]
    rows = b"".join(b"\0" + bytes(2 * samples * 4) for _ in range(4))
    return png_header(4, 4, 16, colour) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")


def deep_rgb_tiff():
    tags = [
        (256, 3, 1, 2),
        (257, 3, 1, 2),
        (258, 3, 3, 122),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, 128),
    ]
    tags += [(277, 3, 1, 3), (278, 3, 1, 2), (279, 4, 1, 24)]
    body = (
        struct.pack("<H", len(tags))
        + b"".join(struct.pack("<HHLL", *tag) for tag in tags)
        + struct.pack("<L", 0)
    )
    return (
        (b"II*\0" + struct.pack("<L", 8) + body).ljust(122, b"\0")
        + struct.pack("<3H", 16, 16, 16)
        + bytes(24)
    )


LOSSLESS = [
    ("PNG", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", {"compression": "packbits"}),
    ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ("BMP", {}),
]


@pytest.mark.parametrize(("kind", "options"), LOSSLESS)
def test_grey_is_read_exactly_from_every_lossless_format(kind, options):
    decoded = decode(saved(GREY, kind, **options))
    assert (decoded.format, decoded.mode, decoded.mode_out, decoded.alpha) == (kind, "L", "L", None)
    np.testing.assert_array_equal(decoded.pixels, GREY[:, :, None])


@pytest.mark.parametrize(("kind", "options"), [*LOSSLESS, ("WEBP", {"lossless": True})])
def test_colour_is_read_exactly_from_every_lossless_format(kind, options):
    decoded = decode(saved(RGB, kind, **options))
    assert (decoded.mode_out, decoded.bit_depth, decoded.width, decoded.height) == ("RGB", 8, 17, 13)
    np.testing.assert_array_equal(decoded.pixels, RGB)


@pytest.mark.parametrize(("kind", "options"), [*LOSSLESS[:-1], ("WEBP", {"lossless": True, "exact": True})])
def test_alpha_is_read_exactly_and_apart_from_the_colours(kind, options):
    decoded = decode(saved(np.dstack([RGB, ALPHA]), kind, **options))
    assert decoded.mode_out == "RGBA"
    np.testing.assert_array_equal(decoded.pixels, RGB)
    np.testing.assert_array_equal(decoded.alpha, ALPHA)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_with_alpha_is_read_exactly(kind):
    decoded = decode(saved(Image.fromarray(np.dstack([GREY, ALPHA]), "LA"), kind))
    assert decoded.mode_out == "LA"
    np.testing.assert_array_equal(decoded.pixels[:, :, 0], GREY)
    np.testing.assert_array_equal(decoded.alpha, ALPHA)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_all_its_bits(kind):
    decoded = decode(saved(DEEP, kind))
    assert (decoded.bit_depth, decoded.mode_out, decoded.pixels.dtype) == (16, "I;16", np.uint16)
    np.testing.assert_array_equal(decoded.pixels[:, :, 0], DEEP)


def test_sixteen_bit_grey_of_a_big_endian_tiff_keeps_its_values():
    little = saved(DEEP, "TIFF")
    with Image.open(BytesIO(little)) as picture:
        (offset,) = picture.tag_v2[273]
    tags = [
        (256, 4, 1, 17),
        (257, 4, 1, 13),
        (258, 3, 1, 16 << 16),
        (259, 3, 1, 1 << 16),
        (262, 3, 1, 1 << 16),
    ]
    tags += [(273, 4, 1, 200), (277, 3, 1, 1 << 16), (278, 4, 1, 13), (279, 4, 1, DEEP.nbytes)]
    directory = struct.pack(">H", len(tags)) + b"".join(struct.pack(">HHLL", *tag) for tag in tags) + bytes(4)
    big = (b"MM\0*" + struct.pack(">L", 8) + directory).ljust(200, b"\0") + DEEP.astype(">u2").tobytes()
    assert offset
    np.testing.assert_array_equal(decode(big).pixels[:, :, 0], DEEP)


def test_a_one_bit_image_becomes_grey_of_0_and_255():
    bits = GREY > 127
    for kind, options in [("PNG", {}), ("BMP", {}), ("TIFF", {"compression": "group4"})]:
        decoded = decode(saved(Image.fromarray(bits), kind, **options))
        assert (decoded.mode, decoded.mode_out) == ("1", "L")
        np.testing.assert_array_equal(decoded.pixels[:, :, 0], bits * 255)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_a_palette_is_looked_up_exactly(kind):
    picture = Image.fromarray(GREY % 7).convert("P")
    colours = RNG.integers(0, 256, (7, 3), dtype=np.uint8)
    picture.putpalette(colours.tobytes())
    decoded = decode(saved(picture, kind))
    assert (decoded.mode, decoded.mode_out) == ("P", "RGB")
    np.testing.assert_array_equal(decoded.pixels, colours[GREY % 7])


def test_a_grey_palette_becomes_grey():
    picture = Image.fromarray(GREY % 3).convert("P")
    picture.putpalette([9, 9, 9, 200, 200, 200, 30, 30, 30])
    decoded = decode(saved(picture, "PNG"))
    assert decoded.mode_out == "L"
    np.testing.assert_array_equal(decoded.pixels[:, :, 0], np.array([9, 200, 30], np.uint8)[GREY % 3])


@pytest.mark.parametrize("transparency", [2, b"\x00\x80\xff\x40"])
def test_the_transparency_of_a_palette_becomes_alpha(transparency):
    picture = Image.fromarray(GREY % 4).convert("P")
    picture.putpalette([1, 2, 3, 40, 50, 60, 7, 8, 9, 100, 110, 120])
    decoded = decode(saved(picture, "PNG", transparency=transparency))
    table = [255, 255, 0, 255] if transparency == 2 else [0, 128, 255, 64]
    assert decoded.mode_out == "RGBA"
    np.testing.assert_array_equal(decoded.alpha, np.array(table)[GREY % 4])


def test_a_transparent_colour_becomes_alpha():
    rgb = RGB.copy()
    rgb[2:5, 3:9] = (10, 20, 30)
    decoded = decode(saved(rgb, "PNG", transparency=(10, 20, 30)))
    np.testing.assert_array_equal(decoded.alpha == 0, (rgb == (10, 20, 30)).all(axis=2))
    np.testing.assert_array_equal(decoded.pixels, rgb)
    grey = decode(saved(GREY, "PNG", transparency=int(GREY[0, 0])))
    np.testing.assert_array_equal(grey.alpha == 0, GREY[0, 0] == GREY)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_the_pixels_stand_upright_as_exif_asks(kind, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    data = saved(RGB, kind, exif=exif, **options)
    stored = Image.fromarray(RGB)
    stored.getexif()[274] = orientation
    expected = np.asarray(ImageOps.exif_transpose(stored))
    decoded = decode(data)
    np.testing.assert_array_equal(decoded.pixels, expected)
    np.testing.assert_array_equal(images.turn_back(decoded.pixels, orientation), RGB)


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_the_header_alone_tells_the_upright_size(kind, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    data = saved(RGB, kind, exif=exif)
    decoded = decode(data)
    size = images.measure(data, filename="a", max_pixels=MAX_PIXELS)
    assert size == (decoded.width, decoded.height)
    with pytest.raises(TooManyPixels):
        images.measure(data, filename="a", max_pixels=220)


def test_a_broken_exif_block_does_not_turn_or_refuse_the_image():
    decoded = decode(saved(RGB, "PNG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff"))
    assert decoded.metadata.orientation == 1


def test_a_header_of_60000_by_60000_is_refused_at_once_and_without_memory():
    tracemalloc.start()
    started = time.perf_counter()
    with pytest.raises(TooManyPixels, match="60000 x 60000 pixels; at most 1000000"):
        decode(png_header(60_000, 60_000), "bomb.png")
    seconds, (_, peak) = time.perf_counter() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 0.5
    assert peak < 1_000_000


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
def test_too_many_pixels_are_refused_in_every_format(kind):
    with pytest.raises(TooManyPixels, match="17 x 13 pixels; at most 220"):
        decode(saved(RGB, kind), max_pixels=220)
    assert decode(saved(RGB, kind), max_pixels=221).width == 17


def test_pillows_own_pixel_limit_plays_no_part(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    for kind in ("PNG", "JPEG", "BMP"):
        assert decode(saved(RGB, kind)).width == 17


def test_a_png_without_pixels_is_refused():
    with pytest.raises(InvalidImage, match="size of 0 x 5"):
        decode(png_header(0, 5) + png_chunk(b"IDAT", zlib.compress(b"")) + png_chunk(b"IEND", b""))


def truncations():
    for kind, options in [*LOSSLESS, ("JPEG", {}), ("JPEG", {"progressive": True}), ("WEBP", {})]:
        yield pytest.param(saved(RGB, kind, **options), id="-".join([kind, *map(str, options.values())]))


@pytest.mark.parametrize("data", list(truncations()))
def test_an_image_cut_off_anywhere_is_refused_in_one_sentence(data):
    for length in {
        len(data) - 1,
        len(data) - 2,
        len(data) - 7,
        *range(20, len(data), max(1, len(data) // 40)),
    }:
        with pytest.raises((InvalidImage, UnsupportedImage)) as refusal:
            decode(data[:length], "cut.img")
        assert refusal.value.detail.startswith("'cut.img' ")
        assert refusal.value.detail.endswith(".")


@pytest.mark.parametrize("data", list(truncations()))
@settings(max_examples=60, deadline=None, derandomize=True)
@given(position=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255))
def test_a_damaged_byte_is_survived_or_refused_but_never_crashes(data, position, value):
    damaged = bytearray(data)
    damaged[int(position * len(data))] = value
    try:
        decoded = decode(bytes(damaged))
    except (InvalidImage, UnsupportedImage, TooManyPixels):
        return
    assert decoded.pixels.size


def test_a_png_with_one_wrong_bit_is_always_noticed():
    data = bytearray(saved(RGB, "PNG"))
    data[data.index(b"IDAT") + 30] ^= 1
    with pytest.raises(InvalidImage, match="checksum of its 'IDAT' chunk is wrong"):
        decode(bytes(data))


@pytest.mark.parametrize(
    ("data", "seen"),
    [
        (b"hello, this is no image\n", "a text file"),
        (b'{"a": 1}', "JSON text"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b"", "an empty file"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"\0\0\0\x20ftypheic", "a HEIC image"),
        (b"PK\3\4\x14\0\0\0", "a zip archive"),
        (
            bytes(range(128, 160)),
            "a file of unknown format (it starts with the bytes 80 81 82 83 84 85 86 87)",
        ),
    ],
)
def test_what_is_no_supported_image_is_named(data, seen):
    with pytest.raises(UnsupportedImage) as refusal:
        decode(data, "thing.bin")
    expected = f"'thing.bin' is {seen}; PNG, JPEG, WebP, TIFF and BMP images are supported."
    assert refusal.value.detail == expected


def test_gifs_are_named_and_animated_ones_told_apart():
    frames = [Image.fromarray(np.roll(GREY, i)) for i in range(3)]
    with pytest.raises(UnsupportedImage, match="is a GIF image"):
        decode(saved(frames[0], "GIF"))
    with pytest.raises(UnsupportedImage, match="is an animated GIF"):
        decode(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]))


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("PNG", r"an animated PNG \(3 frames\); send its frames as single images"),
        ("WEBP", "an animated WebP; send its frames as single images"),
        ("TIFF", "a TIFF of several pages; send its pages as single images"),
    ],
)
def test_images_of_several_frames_are_refused(kind, sentence):
    frames = [Image.fromarray(np.roll(RGB, i, axis=0)) for i in range(3)]
    with pytest.raises(UnsupportedImage, match=sentence):
        decode(saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=100))


def test_cmyk_and_lab_are_refused_rather_than_converted():
    cmyk = Image.fromarray(RGB).convert("CMYK")
    for data, kind in [(saved(cmyk, "JPEG"), "CMYK JPEG"), (saved(cmyk, "TIFF"), "CMYK TIFF")]:
        with pytest.raises(UnsupportedImage, match=f"a {kind}; convert it to RGB first"):
            decode(data)
    with pytest.raises(UnsupportedImage, match="a LAB TIFF; convert it to RGB first"):
        decode(saved(Image.new("LAB", (4, 4)), "TIFF"))


@pytest.mark.parametrize(
    ("picture", "kind"),
    [(np.zeros((4, 4), np.float32), "floating-point"), (np.zeros((4, 4), np.int32), "signed integer")],
)
def test_floating_point_and_32_bit_tiffs_are_refused(picture, kind):
    with pytest.raises(UnsupportedImage, match=f"a TIFF of {kind} samples"):
        decode(saved(picture, "TIFF"))


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (deep_rgb_png(2), "16-bit colour PNG"),
        (deep_rgb_png(4), "16-bit grey with alpha PNG"),
        (deep_rgb_png(6), "16-bit colour with alpha PNG"),
        (deep_rgb_tiff(), "16-bit colour TIFF"),
    ],
)
def test_sixteen_bit_colour_is_refused_because_pillow_would_halve_it(data, kind):
    with Image.open(BytesIO(data)) as picture:
        assert picture.mode in ("RGB", "RGBA")  # what a careless reader would have served
    with pytest.raises(UnsupportedImage, match=f"is a {kind}.*lose half its depth"):
        decode(data)


def test_a_compressed_metadata_bomb_is_never_inflated():
    bomb = zlib.compress(bytes(300_000_000), 9)
    info = PngInfo()
    info.add(b"zTXt", b"Comment\0\0" + bomb)
    data = saved(RGB, "PNG", pnginfo=info)
    profile = png_chunk(b"iCCP", b"p\0\0" + bomb)
    tracemalloc.start()
    decoded = decode(data[:33] + profile + data[33:])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(decoded.pixels, RGB)
    assert decoded.metadata.icc_problem == "is larger than 4 MiB"
    assert peak < 20_000_000


def test_a_tiff_whose_tags_overlap_cannot_multiply_its_size():
    data = bytearray(saved(RGB, "TIFF"))
    tags = [(40_000 + i, 1, len(data) - 8, 8) for i in range(4000)]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHLL", *tag) for tag in tags) + bytes(4)
    data[4:8] = struct.pack("<L", len(data))
    with pytest.raises(InvalidImage, match="tags are together larger than the file"):
        decode(bytes(data) + directory)


def test_a_jpeg_of_thousands_of_scans_is_refused():
    data = saved(GREY, "JPEG", progressive=True)
    scan = data[data.index(b"\xff\xda") : data.rindex(b"\xff\xd9")]
    with pytest.raises(InvalidImage, match="scans; at most 100"):
        decode(data[:-2] + 200 * scan + b"\xff\xd9")


def test_a_hostile_name_is_quoted_short_and_printable():
    with pytest.raises(UnsupportedImage) as refusal:
        decode(b"text", "x" * 5000 + "\n\x1b[31m.png")
    assert len(refusal.value.detail) < 250
    assert refusal.value.detail.isprintable()


def test_a_small_tiff_with_huge_tiles_is_refused_undecoded():
    tile = zlib.compress(bytes(1 << 24))
    entries = ((256, 8), (257, 8), (258, 8), (259, 8), (262, 1), (277, 1), (322, 1 << 12), (323, 1 << 12))
    entries = (*entries, (324, 8), (325, len(tile)))
    table = b"".join(struct.pack("<HHLL", number, 4, 1, value) for number, value in entries)
    padded = tile + bytes(len(tile) % 2)
    head = b"II*\0" + struct.pack("<L", 8 + len(padded))

    with pytest.raises(InvalidImage, match="its tiles of 4096 x 4096 are larger than it is"):
        decode(head + padded + struct.pack("<H", len(entries)) + table + bytes(4))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "I;16"])
def test_a_large_image_is_read_band_by_band_without_a_seam(mode):
    values = np.random.default_rng(1).integers(0, 256, (911, 1013, 4), dtype=np.uint8)
    channels = {"LA": 2, "RGB": 3, "RGBA": 4}.get(mode, 1)
    if mode == "I;16":
        picture = Image.fromarray(values[:, :, 0].astype(np.uint16) * 250)
    else:
        picture = Image.fromarray(values[:, :, :channels].squeeze())
        picture = picture.convert("1") if mode == "1" else picture
    buffer = BytesIO()
    picture.save(buffer, "PNG")

    read = images.decode(buffer.getvalue(), filename="a.png", max_pixels=10**6)

    whole = np.asarray(picture)
    if mode == "1":
        whole = whole * np.uint8(255)
    colours = whole[:, :, :-1] if mode in ("LA", "RGBA") else whole.reshape(*whole.shape[:2], -1)
    np.testing.assert_array_equal(read.pixels, colours)
    if mode in ("LA", "RGBA"):
        np.testing.assert_array_equal(read.alpha, whole[:, :, -1])
