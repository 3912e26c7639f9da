"""Pictures in: what is odd is told or refused. Pictures out: the same bytes, whole or not at all."""

import errno
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageSequence, PngImagePlugin

from minicnn import pictures
from minicnn.errors import MinicnnError

RED, WHITE = (255, 0, 0), (255, 255, 255)


def gradient(width=16, height=12):
    """RGB pixels in which no two are equal, so that a turned or mirrored picture differs."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], axis=-1).astype(np.uint8)


def refusal(path, **options):
    with pytest.raises(MinicnnError) as caught:
        pictures.load_picture(path, **options)
    text = str(caught.value)
    assert "\n" not in text and str(path) in text
    return text.removeprefix(f"{path}: ")


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


# What is refused


def test_a_missing_picture_is_named(tmp_path):
    assert refusal(tmp_path / "no.png") == "there is no such file"


def test_a_folder_is_no_picture(tmp_path):
    assert refusal(tmp_path) == "expected a picture, this is a folder"


def test_a_text_file_is_no_picture(tmp_path):
    (tmp_path / "a.png").write_text("hello")
    assert refusal(tmp_path / "a.png").startswith("not a picture that can be read here (PNG, JPEG")


def test_an_empty_file_is_called_empty(tmp_path):
    (tmp_path / "a.jpg").touch()
    assert refusal(tmp_path / "a.jpg") == "empty"


def test_postscript_is_never_handed_to_ghostscript(tmp_path):
    (tmp_path / "a.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    assert "not a picture" in refusal(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "tif"])
def test_a_truncated_picture_is_damaged(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "damaged" in refusal(path)


def test_any_damaged_byte_is_an_error_of_ours_or_a_picture(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(gradient()).save(path)
    whole = path.read_bytes()
    for i in range(len(whole)):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 0xFF]) + whole[i + 1 :])
        try:
            pictures.load_picture(path)
        except MinicnnError as error:
            assert str(path) in str(error)


def test_a_decompression_bomb_is_refused_by_its_header(tmp_path, monkeypatch):
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda self: pytest.fail("was decoded"))
    for side in (10_000, 60_000):  # Pillow warns of the first, refuses the second
        header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        data = b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(b"")) + png_chunk(b"IEND", b"")
        (tmp_path / "bomb.png").write_bytes(data)
        text = refusal(tmp_path / "bomb.png")
        assert text == "more than 89,478,485 pixels, refused as a decompression bomb"


def test_a_bomb_is_refused_although_someone_lifted_pillows_limit(tmp_path, monkeypatch):
    Image.new("L", (20, 20)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    monkeypatch.setattr(pictures, "MAX_PIXELS", 399)
    assert "bomb" in refusal(tmp_path / "a.png")


def test_an_unknown_mode_is_an_error(tmp_path):
    with pytest.raises(MinicnnError, match="mode 'BGR': expected 'RGB' or 'L'"):
        pictures.load_picture(tmp_path / "a.png", mode="BGR")


# What is converted, and told


def test_a_plain_picture_comes_as_it_is_and_without_notes(tmp_path):
    Image.fromarray(gradient()).save(tmp_path / "a.png", dpi=(72, 72))
    picture = pictures.load_picture(tmp_path / "a.png")
    assert picture.mode == "RGB" and np.array_equal(np.asarray(picture), gradient())
    assert pictures.notes(picture) == ()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_stands_upright(tmp_path, orientation):
    # How the pixels of an upright picture lie in a file with this tag (EXIF 2.3, section 4.6.4 A).
    stored = {
        1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2), 6: lambda a: np.rot90(a), 7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation](gradient())  # fmt: skip
    exif = Image.Exif()
    exif[pictures.ORIENTATION] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    picture = pictures.load_picture(tmp_path / "a.png")
    assert np.array_equal(np.asarray(picture), gradient())
    assert pictures.notes(picture) == (() if orientation == 1 else ("turned as its EXIF tag says",))


def test_transparent_parts_become_white(tmp_path):
    image = Image.new("RGBA", (2, 1), (*RED, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    image.save(tmp_path / "a.png")
    picture = pictures.load_picture(tmp_path / "a.png")
    assert [picture.getpixel((x, 0)) for x in (0, 1)] == [RED, WHITE]
    assert pictures.notes(picture) == ("transparent parts laid on white",)


def test_an_opaque_alpha_channel_is_not_worth_a_note(tmp_path):
    Image.new("LA", (2, 2), (7, 255)).save(tmp_path / "a.png")
    picture = pictures.load_picture(tmp_path / "a.png", mode="L")
    assert picture.getpixel((0, 0)) == 7 and pictures.notes(picture) == ()


def test_a_palette_becomes_its_colours_and_its_clear_one_white(tmp_path):
    image = Image.new("P", (2, 1), 1)
    image.putpalette([0, 0, 0, *RED])
    image.putpixel((0, 0), 0)
    image.save(tmp_path / "a.gif", transparency=0)
    picture = pictures.load_picture(tmp_path / "a.gif")
    assert [picture.getpixel((x, 0)) for x in (0, 1)] == [WHITE, RED]


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    values = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    picture = pictures.load_picture(tmp_path / "a.png", mode="L")
    assert np.asarray(picture).tolist() == [[0, 1, 128, 255]]
    assert pictures.notes(picture) == ("16 bits reduced to 8",)


def test_a_turned_sixteen_bit_picture_is_turned_and_scaled(tmp_path):
    exif = Image.Exif()
    exif[pictures.ORIENTATION] = 3
    Image.fromarray(np.array([[0, 65535]], dtype=np.uint16)).save(tmp_path / "a.png", exif=exif)
    assert np.asarray(pictures.load_picture(tmp_path / "a.png", mode="L")).tolist() == [[255, 0]]


def test_sixteen_bit_colours_are_reduced(tmp_path):
    rows = b"\x00" + struct.pack(">6H", 65535, 0, 32768, 0, 65535, 257)
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(data)
    picture = pictures.load_picture(tmp_path / "a.png")
    assert [picture.getpixel((x, 0)) for x in (0, 1)] == [(255, 0, 128), (0, 255, 1)]
    assert pictures.notes(picture) == ("16 bits a colour reduced to 8",)


def test_floats_in_zero_to_one_are_scaled_others_stretched(tmp_path):
    for values, grey, note in (
        ([[0.0, 0.5, 1.0]], [[0, 128, 255]], "float values reduced to 8 bits"),
        ([[-1.0, 1.0, 3.0]], [[0, 128, 255]], "values from -1 to 3 stretched to 8 bits"),
    ):
        Image.fromarray(np.array(values, dtype=np.float32)).save(tmp_path / "a.tif")
        picture = pictures.load_picture(tmp_path / "a.tif", mode="L")
        assert np.asarray(picture).tolist() == grey and pictures.notes(picture) == (note,)


def test_a_float_picture_with_nan_is_an_error(tmp_path):
    Image.fromarray(np.array([[0, np.nan]], dtype=np.float32)).save(tmp_path / "a.tif")
    assert refusal(tmp_path / "a.tif") == "1 of 2 values are not finite"


def test_cmyk_becomes_rgb(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    picture = pictures.load_picture(tmp_path / "a.jpg")
    assert np.abs(np.array(picture.getpixel((4, 4))) - RED).max() < 5
    assert pictures.notes(picture) == ("CMYK converted to RGB",)


def test_grey_and_bilevel_pictures_become_rgb_and_back(tmp_path):
    Image.new("L", (2, 2), 90).save(tmp_path / "grey.png")
    Image.new("1", (2, 2), 1).save(tmp_path / "bilevel.png")
    assert pictures.load_picture(tmp_path / "grey.png").getpixel((0, 0)) == (90, 90, 90)
    assert pictures.load_picture(tmp_path / "grey.png", mode="L").getpixel((0, 0)) == 90
    assert pictures.load_picture(tmp_path / "bilevel.png").getpixel((0, 0)) == WHITE


def test_of_an_animation_the_first_frame_is_taken(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, WHITE)]
    pictures.save_gif(tmp_path / "a.gif", frames)
    picture = pictures.load_picture(tmp_path / "a.gif")
    assert picture.getpixel((0, 0)) == RED and pictures.notes(picture) == ("the first of several frames",)


# Arrays


def test_arrays_and_pictures_turn_into_each_other_exactly():
    for pixels in (gradient(), gradient()[:, :, 0]):
        array = pictures.to_array(Image.fromarray(pixels))
        assert array.dtype == np.float32 and array.shape == (3 if pixels.ndim == 3 else 1, 12, 16)
        assert np.array_equal(np.asarray(pictures.to_picture(array)), pixels)
        assert np.array_equal(np.asarray(pictures.to_picture(array[None].astype(np.float64))), pixels)


def test_values_are_clipped_and_rounded_to_nearest():
    array = np.array([-1, 0.4 / 255, 0.6 / 255, 254.6 / 255, np.inf]).reshape(1, 1, 5)
    assert np.asarray(pictures.to_picture(array)).tolist() == [[0, 0, 1, 255, 255]]


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.zeros((3, 4, 4), np.uint8), "floats in .* got uint8"),
        ([[[0.5]]], "got list"),
        (np.zeros((2, 4, 4)), r"got shape \(2, 4, 4\)"),
        (np.zeros((2, 3, 4, 4)), r"got shape \(2, 3, 4, 4\)"),
        (np.zeros((4, 4)), r"got shape \(4, 4\)"),
        (np.full((1, 2, 2), np.nan), "4 of 4 values of the picture are NaN"),
    ],
)
def test_what_is_no_picture_is_said(array, text):
    with pytest.raises(MinicnnError, match=text):
        pictures.to_picture(array)


def test_a_picture_of_another_mode_is_no_array():
    with pytest.raises(MinicnnError, match="mode 'P'"):
        pictures.to_array(Image.new("P", (2, 2)))


def test_a_picture_of_the_right_size_is_not_touched():
    array = pictures.to_array(Image.fromarray(gradient()))
    assert np.array_equal(pictures.fit(array, (3, 12, 16)), array)
    assert np.array_equal(pictures.fit(Image.fromarray(gradient()), (3, 12, 16)), array)


def test_grey_becomes_colour_and_colour_grey():
    grey = np.full((1, 4, 4), 0.25, np.float32)
    assert np.array_equal(pictures.fit(grey, (3, 4, 4)), np.full((3, 4, 4), 0.25, np.float32))
    colours = pictures.fit(Image.new("RGB", (4, 4), RED), (1, 4, 4))
    assert colours.shape == (1, 4, 4) and np.allclose(colours, 76 / 255)  # 0.299 in whole numbers
    assert pictures.fit(Image.new("RGBA", (4, 4), RED), (3, 4, 4)).shape == (3, 4, 4)


def test_the_middle_of_a_wide_picture_is_kept_in_proportion():
    wide = np.zeros((1, 20, 60), np.float32)
    wide[:, :, 20:40] = 1
    assert np.array_equal(pictures.fit(wide, (1, 20, 20)), np.ones((1, 20, 20), np.float32))
    half = pictures.fit(wide, (1, 10, 30))
    assert half.dtype == np.float32 and half.shape == (1, 10, 30)
    assert np.allclose(half[0, :, 12:18], 1) and np.allclose(half[0, :, :8], 0)


def test_the_middle_224_of_256_are_taken_as_they_are():
    ramp = np.tile(np.linspace(0, 1, 256, dtype=np.float32), (256, 1))[None]
    assert np.array_equal(pictures.fit(ramp, (1, 224, 224), resize=256), ramp[:, 16:240, 16:240])
    high = np.tile(ramp, (1, 2, 1))  # of 512×256 pixels: the short side counts
    assert np.array_equal(pictures.fit(high, (1, 224, 224), resize=256), high[:, 144:368, 16:240])


def test_a_short_side_below_that_of_the_input_covers_it_all_the_same():
    assert pictures.cut(Image.new("L", (40, 30)), 20, 32, resize=8).size == (32, 20)


def test_a_picture_that_fits_no_network_is_an_error():
    with pytest.raises(MinicnnError, match=r"cannot fit a picture of shape \(4, 8, 8\) to \(3, 8, 8\)"):
        pictures.fit(np.zeros((4, 8, 8)), (3, 8, 8))


# Saving


def test_equal_pixels_make_equal_bytes_whatever_the_picture_brought_along(tmp_path):
    picture = Image.fromarray(gradient())
    pictures.save_png(tmp_path / "a.png", picture)
    picture.info.update(dpi=(300, 300), Software="camera", icc_profile=b"x" * 100, gamma=0.4)
    pictures.save_png(tmp_path / "b.png", picture)
    data = (tmp_path / "a.png").read_bytes()
    assert data == (tmp_path / "b.png").read_bytes()
    assert picture.info["dpi"] == (300, 300)
    assert not any(chunk in data for chunk in (b"tIME", b"tEXt", b"pHYs", b"iCCP", b"eXIf"))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), gradient())


def test_a_full_disk_leaves_no_half_written_picture(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    for save in (
        lambda: pictures.save_png(tmp_path / "a.png", Image.new("L", (2, 2))),
        lambda: pictures.save_gif(tmp_path / "a.gif", [Image.new("L", (2, 2))]),
    ):
        with pytest.raises(MinicnnError, match="cannot be written: no space left on device"):
            save()
        assert os.listdir(tmp_path) == []


def test_an_animation_has_its_frames_and_its_pace(tmp_path):
    frames = [Image.fromarray(np.roll(gradient(), i, axis=1)) for i in range(5)]
    pictures.save_gif(tmp_path / "a.gif", iter(frames), fps=20)
    pictures.save_gif(tmp_path / "b.gif", frames, fps=20)
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()
    with Image.open(tmp_path / "a.gif") as image:
        assert len(list(ImageSequence.Iterator(image))) == 5
        assert image.info["duration"] == 50 and image.info["loop"] == 0
        for i, frame in enumerate(frames):
            image.seek(i)
            assert np.abs(np.asarray(image.convert("RGB"), int) - np.asarray(frame)).max() < 40


def test_a_bad_animation_is_refused_and_leaves_nothing(tmp_path):
    for frames, fps, text in (
        ([], 10, "at least one frame"),
        ([Image.new("L", (2, 2)), Image.new("L", (3, 2))], 10, "a frame of 3x2 in an animation of 2x2"),
        ([Image.new("L", (2, 2))], 0, "fps 0"),
    ):
        with pytest.raises(MinicnnError, match=text):
            pictures.save_gif(tmp_path / "a.gif", frames, fps)
    assert os.listdir(tmp_path) == []
