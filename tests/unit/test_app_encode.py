from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from app.errors import InvalidOptions
from app.refining import encode, images

RNG = np.random.default_rng(11)
YY, XX = np.mgrid[0:40, 0:56]
SMOOTH = (120 + 60 * np.sin(XX / 9) + 50 * np.cos(YY / 7)).astype(np.uint8)
RGB = np.dstack([SMOOTH, SMOOTH[::-1], 255 - SMOOTH])
ALPHA = RNG.integers(0, 256, SMOOTH.shape, dtype=np.uint8)
DEEP = SMOOTH.astype(np.uint16) * 199 + 77
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def saved(picture, kind, **options):
    buffer = BytesIO()
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def decode(data):
    return images.decode(data, filename="in.img", max_pixels=10**6)


def opened(data):
    with Image.open(BytesIO(data)) as picture:
        picture.load()
        return picture


def camera_exif(orientation=1):
    exif = Image.Exif()
    exif[271], exif[272], exif[274] = "Maker", "Model", orientation
    exif.get_ifd(34665)[36867] = "2024:02:03 04:05:06"
    exif.get_ifd(34853)[1] = "N"
    return exif.tobytes()


def refined_once(decoded):
    """A change that stays inside the range and is not symmetric, so turning errors show."""
    ramp = np.arange(decoded.width)[None, :, None] % 5 + 1
    return np.where(decoded.pixels > 128, decoded.pixels - ramp, decoded.pixels + ramp).astype(
        decoded.pixels.dtype
    )


LOSSLESS = [
    ("PNG", SMOOTH, {}),
    ("PNG", RGB, {}),
    ("PNG", np.dstack([RGB, ALPHA]), {}),
    ("PNG", np.dstack([SMOOTH, ALPHA]), {}),
    ("PNG", DEEP, {}),
    ("TIFF", SMOOTH, {"compression": "tiff_lzw"}),
    ("TIFF", RGB, {}),
    ("TIFF", np.dstack([RGB, ALPHA]), {"compression": "zstd"}),
    ("TIFF", DEEP, {"compression": "tiff_adobe_deflate"}),
    ("BMP", SMOOTH, {}),
    ("BMP", RGB, {}),
    ("WEBP", RGB, {"lossless": True}),
    ("WEBP", np.dstack([RGB, ALPHA]), {"lossless": True, "exact": True}),
]


@pytest.mark.parametrize(("kind", "picture", "options"), LOSSLESS)
def test_refined_pixels_and_alpha_survive_a_lossless_format_exactly(kind, picture, options):
    decoded = decode(saved(picture, kind, **options))
    refined = refined_once(decoded)
    encoded = encode.encode(decoded, refined, format=None, quality=None)
    again = decode(encoded.data)
    np.testing.assert_array_equal(again.pixels, refined)
    assert (again.alpha is None) == (decoded.alpha is None)
    if decoded.alpha is not None:
        np.testing.assert_array_equal(again.alpha, decoded.alpha)
    assert encoded.lossless
    assert (again.format, again.mode) == (kind, encoded.mode_out)
    assert encoded.media_type == f"image/{kind.lower()}"


@pytest.mark.parametrize(("kind", "picture", "options"), [*LOSSLESS, ("JPEG", RGB, {}), ("WEBP", RGB, {})])
def test_unchanged_pixels_give_the_source_bytes(kind, picture, options):
    data = saved(picture, kind, **options)
    decoded = decode(data)
    assert encode.encode(decoded, decoded.pixels.copy(), format=None, quality=None).data is data
    assert encode.encode(decoded, decoded.pixels, format=kind.lower(), quality=None).data is data


def test_one_changed_pixel_is_written():
    decoded = decode(saved(RGB, "PNG"))
    refined = decoded.pixels.copy()
    refined[3, 4, 1] ^= 1
    np.testing.assert_array_equal(
        decode(encode.encode(decoded, refined, format=None, quality=None).data).pixels, refined
    )


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})])
def test_refined_pixels_go_back_to_the_stored_orientation(kind, options, orientation):
    decoded = decode(
        saved(np.dstack([RGB, ALPHA]), kind, exif=camera_exif(orientation), exact=True, **options)
    )
    refined = refined_once(decoded)
    again = decode(encode.encode(decoded, refined, format=None, quality=None).data)
    assert again.metadata.orientation == orientation
    np.testing.assert_array_equal(again.pixels, refined)
    np.testing.assert_array_equal(again.alpha, decoded.alpha)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_exif_and_icc_bytes_are_kept_to_the_byte(kind):
    decoded = decode(saved(RGB, kind, exif=camera_exif(6), icc_profile=ICC))
    again = decode(encode.encode(decoded, refined_once(decoded), format=None, quality=None).data)
    assert decoded.metadata.exif
    assert decoded.metadata.icc == ICC
    assert again.metadata.exif == decoded.metadata.exif
    assert again.metadata.icc == ICC


def test_tiff_tags_exif_and_icc_are_kept():
    info = {270: "a description", 305: "software", 33550: (0.5, 0.5, 0.0), 65000: "private"}
    source = saved(RGB, "TIFF", tiffinfo=info, icc_profile=ICC, dpi=(300, 150), compression="tiff_lzw")
    source_exif = saved(RGB, "TIFF", exif=camera_exif(3))
    decoded, with_exif = decode(source), decode(source_exif)
    again = opened(encode.encode(decoded, refined_once(decoded), format=None, quality=None).data)
    assert [again.tag_v2[tag] for tag in (270, 305, 33550)] == ["a description", "software", (0.5, 0.5, 0.0)]
    assert again.info["icc_profile"] == ICC
    assert again.info["dpi"] == (300, 150)
    assert again.info["compression"] == "tiff_lzw"
    exif = opened(encode.encode(with_exif, refined_once(with_exif), format=None, quality=None).data).getexif()
    assert (exif[271], exif.get_ifd(34665)[36867], exif.get_ifd(34853)[1]) == (
        "Maker",
        "2024:02:03 04:05:06",
        "N",
    )


def test_gamma_text_private_and_resolution_chunks_of_a_png_are_kept_verbatim():
    info = PngInfo()
    info.add_text("Author", "someone")
    info.add_text("Long", "x" * 500, zip=True)
    info.add(b"gAMA", (45455).to_bytes(4, "big"))
    info.add(b"saFe", b"copy me")
    info.add(b"daTE", b"stale once pixels change")
    decoded = decode(saved(RGB, "PNG", pnginfo=info, dpi=(72, 72)))
    again = opened(encode.encode(decoded, refined_once(decoded), format=None, quality=None).data)
    assert again.info["gamma"] == 0.45455
    assert again.text == {"Author": "someone", "Long": "x" * 500}
    assert round(again.info["dpi"][0]) == 72
    assert (b"saFe", b"copy me") in again.private_chunks
    assert b"daTE" not in {chunk[0] for chunk in again.private_chunks}


def test_chunks_that_speak_of_palette_entries_do_not_survive_the_palette():
    info = PngInfo()
    info.add(b"bKGD", b"\x02")
    palette = Image.fromarray(SMOOTH % 4).convert("P")
    palette.putpalette(RNG.integers(0, 256, 12, dtype=np.uint8).tobytes())
    grey = PngInfo()
    grey.add(b"bKGD", b"\0\x07")
    for picture, chunks, stays in [(palette, info, False), (SMOOTH, grey, True)]:
        decoded = decode(saved(picture, "PNG", pnginfo=chunks))
        encoded = encode.encode(decoded, refined_once(decoded), format=None, quality=None)
        assert b"bKGD" in decoded.source
        assert (b"bKGD" in encoded.data) is stays


@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_the_exif_chunk_of_a_webp_is_kept_with_or_without_its_prefix(prefix):
    chunk = prefix + camera_exif(1).removeprefix(b"Exif\0\0")
    decoded = decode(saved(RGB, "WEBP", lossless=True, exif=b"Exif\0\0" + chunk))
    encoded = encode.encode(decoded, refined_once(decoded), format=None, quality=None)
    record = b"EXIF" + len(chunk).to_bytes(4, "little") + chunk
    assert record in decoded.source
    assert record in encoded.data


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [31, 88])
def test_a_jpeg_is_written_with_its_own_tables_and_subsampling(subsampling, quality):
    source = saved(RGB, "JPEG", quality=quality, subsampling=subsampling, comment=b"kept", progressive=True)
    decoded = decode(source)
    encoded = encode.encode(decoded, refined_once(decoded), format=None, quality=None)
    before, after = opened(source), opened(encoded.data)
    assert after.quantization == before.quantization
    assert after.layer == before.layer
    assert after.info["comment"] == b"kept"
    assert after.info["progressive"]
    assert not encoded.lossless


def test_a_jpeg_compressed_tiff_stays_so_unless_alpha_would_suffer():
    for picture, compression in [(RGB, "jpeg"), (np.dstack([RGB, ALPHA]), "tiff_adobe_deflate")]:
        decoded = decode(saved(picture, "TIFF", compression="jpeg", quality=90))
        encoded = encode.encode(decoded, refined_once(decoded), format=None, quality=None)
        again = decode(encoded.data)
        assert opened(encoded.data).info["compression"] == compression
        assert encoded.lossless is (compression != "jpeg")
        assert np.abs(again.pixels.astype(int) - refined_once(decoded)).mean() < 2
        assert again.alpha is None or (again.alpha == decoded.alpha).all()


def test_a_grey_jpeg_stays_grey_and_near_its_pixels():
    decoded = decode(saved(SMOOTH, "JPEG", quality=95))
    refined = refined_once(decoded)
    again = decode(encode.encode(decoded, refined, format=None, quality=None).data)
    assert again.mode == "L"
    assert np.abs(again.pixels.astype(int) - refined).mean() < 1.5


def test_an_rgb_coded_jpeg_stays_rgb_coded():
    decoded = decode(saved(RGB, "JPEG", quality=95, keep_rgb=True))
    refined = refined_once(decoded)
    again = opened(encode.encode(decoded, refined, format=None, quality=None).data)
    assert again.info["adobe_transform"] == 0
    assert np.abs(np.asarray(again).astype(int) - refined).mean() < 2


def test_a_lossy_webp_stays_lossy_and_a_lossless_one_lossless():
    for lossless in (True, False):
        decoded = decode(saved(RGB, "WEBP", lossless=lossless))
        encoded = encode.encode(decoded, refined_once(decoded), format=None, quality=None)
        assert encoded.lossless is lossless
        assert (b"VP8L" in encoded.data[:40]) is lossless


@pytest.mark.parametrize("picture", [SMOOTH, RGB])
@pytest.mark.parametrize("source", ["PNG", "TIFF", "BMP", "JPEG", "WEBP"])
@pytest.mark.parametrize("target", ["png", "tiff", "bmp", "webp", "jpeg"])
def test_every_format_can_be_asked_of_every_other(picture, source, target):
    decoded = decode(saved(picture, source))
    encoded = encode.encode(decoded, decoded.pixels, format=target, quality=None)
    again = decode(encoded.data)
    assert (again.format.lower(), again.mode) == (target, encoded.mode_out)
    if encoded.lossless:
        np.testing.assert_array_equal(again.pixels, np.broadcast_to(decoded.pixels, again.pixels.shape))


@pytest.mark.parametrize("target", ["png", "jpeg", "webp", "tiff"])
@pytest.mark.parametrize("source", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_exif_icc_and_orientation_travel_into_another_format(source, target):
    decoded = decode(saved(RGB, source, exif=camera_exif(8), icc_profile=ICC, dpi=(300, 300)))
    again = decode(encode.encode(decoded, decoded.pixels, format=target, quality=None).data)
    exif = opened(again.source).getexif()
    assert again.metadata.orientation == 8
    assert again.pixels.shape == decoded.pixels.shape
    assert again.metadata.icc == ICC
    assert exif.get_ifd(34665)[36867] == "2024:02:03 04:05:06"


def test_xmp_travels_between_formats():
    packet = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    decoded = decode(saved(RGB, "JPEG", xmp=packet))
    for target in ("png", "webp", "tiff"):
        assert (
            decode(encode.encode(decoded, decoded.pixels, format=target, quality=None).data).metadata.xmp
            == packet
        )


def test_a_bmp_gets_the_upright_picture_and_says_what_it_cannot_hold():
    decoded = decode(saved(RGB, "PNG", exif=camera_exif(6), icc_profile=ICC))
    encoded = encode.encode(decoded, decoded.pixels, format="bmp", quality=None)
    np.testing.assert_array_equal(decode(encoded.data).pixels, decoded.pixels)
    assert encoded.notes == ("BMP cannot hold the EXIF and ICC profile.",)


def test_alpha_survives_a_bmp():
    decoded = decode(saved(np.dstack([RGB, ALPHA]), "PNG"))
    again = decode(encode.encode(decoded, decoded.pixels, format="bmp", quality=None).data)
    np.testing.assert_array_equal(again.pixels, RGB)
    np.testing.assert_array_equal(again.alpha, ALPHA)


def test_a_lower_quality_gives_a_smaller_file():
    decoded = decode(saved(RGB, "PNG"))
    for target in ("jpeg", "webp"):
        sizes = [
            len(encode.encode(decoded, decoded.pixels, format=target, quality=quality).data)
            for quality in (20, 90)
        ]
        assert sizes[0] < sizes[1]


@pytest.mark.parametrize(
    ("picture", "target", "quality", "sentence"),
    [
        (np.dstack([RGB, ALPHA]), "jpeg", None, "'in.img' has an alpha channel, which JPEG cannot hold"),
        (DEEP, "jpeg", None, "'in.img' has 16 bits, which JPEG cannot hold"),
        (DEEP, "webp", None, "'in.img' has 16 bits, which WEBP cannot hold"),
        (DEEP, "bmp", None, "'in.img' has 16 bits, which BMP cannot hold"),
        (RGB, "png", 80, "quality 80 was asked for PNG, which is written without loss"),
        (RGB, "jpeg", 0, "quality is 0; it must lie between 1 and 100"),
        (RGB, "jpeg", 101, "quality is 101; it must lie between 1 and 100"),
        (RGB, "gif", None, "format 'gif' is unknown; use png, jpeg, webp, tiff or bmp"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(picture, target, quality, sentence):
    decoded = decode(saved(picture, "PNG"))
    with pytest.raises(InvalidOptions, match=sentence):
        encode.encode(decoded, decoded.pixels, format=target, quality=quality)


def test_a_16_bit_png_can_become_a_16_bit_tiff():
    decoded = decode(saved(DEEP, "PNG"))
    again = decode(encode.encode(decoded, decoded.pixels, format="tiff", quality=None).data)
    np.testing.assert_array_equal(again.pixels[:, :, 0], DEEP)


def test_a_png_profile_that_cannot_be_read_stays_in_png_and_is_refused_elsewhere():
    data = saved(RGB, "PNG", icc_profile=ICC)
    at = data.index(b"iCCP")
    import zlib

    length = int.from_bytes(data[at - 4 : at], "big")
    body = data[at + 4 : at + 4 + length].replace(b"\0\0", b"\0\0\xff", 1)[:length]
    chunk = b"iCCP" + body
    broken = data[:at] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + data[at + 8 + length :]
    decoded = decode(broken)
    assert decoded.metadata.icc_problem == "is corrupt"
    assert body in encode.encode(decoded, refined_once(decoded), format=None, quality=None).data
    with pytest.raises(InvalidOptions, match=r"The ICC profile of .in\.img. is corrupt"):
        encode.encode(decoded, decoded.pixels, format="jpeg", quality=None)


def test_the_main_picture_of_a_multi_picture_jpeg_is_kept_and_the_rest_named():
    data = saved(Image.fromarray(RGB), "MPO", save_all=True, append_images=[Image.fromarray(RGB[::-1])])
    decoded = decode(data)
    encoded = encode.encode(decoded, refined_once(decoded), format=None, quality=None)
    assert encoded.notes == ("Only the main picture of this multi-picture JPEG is kept.",)
    assert b"MPF\0" not in encoded.data
    assert decode(encoded.data).pixels.shape == RGB.shape
