"""Pictures in and out: files, PIL pictures, and arrays of floats in [0, 1].

`load_picture` is strict about what it opens and says what it changed; `save_png` and `save_gif` write the same bytes
for the same pixels, whole or not at all.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from .errors import MinicnnError
from .files import reason, write_bytes

# Formats of photographs and drawings. Not all that Pillow reads: it hands EPS to Ghostscript, which runs programs.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "PPM", "TIFF", "WEBP", "AVIF", "JPEG2000")
# Beyond this a small file could ask for gigabytes. Pillow warns from the same number on.
MAX_PIXELS = 1024**3 // 4 // 3
ORIENTATION = 0x0112  # the EXIF tag


def load_picture(path: str | os.PathLike[str], *, mode: str = "RGB") -> Image.Image:
    """Opens a picture as 8-bit "RGB" or "L" (grey), upright, on white where it is transparent.

    What was changed on the way, other than RGB to grey or back, is told by `notes(picture)`. Raises MinicnnError,
    naming the file, if it is missing, no file, no picture, damaged, or of more than MAX_PIXELS pixels; the last is
    found out from its header, before anything is decoded.
    """
    path = Path(path)
    if mode not in ("RGB", "L"):
        raise MinicnnError(f"mode {mode!r}: expected 'RGB' or 'L'")
    if not path.exists():
        raise MinicnnError(f"{path}: there is no such file")
    if not path.is_file():
        raise MinicnnError(f"{path}: expected a picture, this is {'a folder' if path.is_dir() else 'no regular file'}")
    with _opened(path) as image:
        try:
            picture, said = _decoded(image)
        except MinicnnError as error:
            raise MinicnnError(f"{path}: {error}") from error
        except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
            raise MinicnnError(f"{path}: a damaged {image.format} picture: {_one_line(error)}") from error
    picture = picture if picture.mode == mode else picture.convert(mode)
    picture.info = {"minicnn_notes": tuple(said)}
    return picture


def notes(picture: Image.Image) -> tuple[str, ...]:
    """What `load_picture` changed in this picture, each a few words: "turned as its EXIF tag says"."""
    said: tuple[str, ...] = picture.info.get("minicnn_notes", ())
    return said


def to_array(picture: Image.Image) -> np.ndarray:
    """An "RGB" or "L" picture as (C, H, W) float32 in [0, 1]; the memory is channels last, as the kernels like it."""
    if picture.mode not in ("RGB", "L"):
        raise MinicnnError(f"a picture of mode {picture.mode!r}: expected 'RGB' or 'L' (load_picture converts)")
    pixels = np.atleast_3d(np.asarray(picture, dtype=np.float32))  # (H, W, C)
    return (pixels / np.float32(255)).transpose(2, 0, 1)


def to_picture(array: np.ndarray) -> Image.Image:
    """Floats in [0, 1], (C, H, W) or (1, C, H, W) with C = 1 or 3, as an 8-bit picture: clipped, rounded to nearest.

    Undoes `to_array` exactly. Raises MinicnnError for another shape, integers, NaN.
    """
    if not isinstance(array, np.ndarray) or not np.issubdtype(array.dtype, np.floating):
        got = getattr(array, "dtype", type(array).__name__)
        raise MinicnnError(f"expected a NumPy array of floats in [0, 1] as a picture, got {got}")
    pixels = array[0] if array.ndim == 4 and array.shape[0] == 1 else array
    if pixels.ndim != 3 or pixels.shape[0] not in (1, 3) or 0 in pixels.shape:
        raise MinicnnError(f"expected a picture (C, H, W) or (1, C, H, W) with C = 1 or 3, got shape {array.shape}")
    if np.isnan(pixels).any():
        raise MinicnnError(f"{np.isnan(pixels).sum()} of {pixels.size} values of the picture are NaN")
    whole = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)  # (H, W, C)
    return Image.fromarray(np.ascontiguousarray(whole[:, :, 0] if whole.shape[2] == 1 else whole))


def fit(picture: Image.Image | np.ndarray, shape: tuple[int, int, int], *, resize: int | None = None) -> np.ndarray:
    """The middle of a picture (PIL, or an array (C, H, W) in [0, 1]) as (C, H, W) float32 of `shape`, a network input.

    It is scaled and cut as by `cut`; an array of that height and width is taken as it is. Colour becomes grey by its
    luma (ITU-R BT.601), grey becomes colour. A PIL picture stays one of whole numbers from 0 to 255 until it is cut, so
    that it gives the pixels of a data set's folder.
    """
    channels, height, width = shape
    if isinstance(picture, Image.Image):
        return to_array(cut(picture.convert("L" if channels == 1 else "RGB"), height, width, resize=resize))
    if picture.ndim != 3 or picture.shape[0] not in (1, 3) or channels not in (1, 3) or 0 in picture.shape:
        raise MinicnnError(f"cannot fit a picture of shape {picture.shape} to {shape}: expected (C, H, W), C = 1 or 3")
    if channels < picture.shape[0]:
        picture = np.tensordot(np.array([[0.299, 0.587, 0.114]]), picture, 1)
    planes = np.ascontiguousarray(picture, dtype=np.float32)  # (1 or 3, H, W)
    if planes.shape[1:] != (height, width):
        scaled = np.stack([np.asarray(cut(Image.fromarray(plane), height, width, resize=resize)) for plane in planes])
        planes = np.clip(scaled, 0, 1)  # beside an edge bicubic interpolation goes beyond it
    return np.repeat(planes, channels // planes.shape[0], axis=0)


def cut(picture: Image.Image, height: int, width: int, *, resize: int | None = None) -> Image.Image:
    """The `height`×`width` pixels in the middle of a picture that is scaled (bicubic) to just cover them.

    With `resize` its short side becomes that many pixels (more where that would not cover them): ImageNet networks are
    tested on the middle 224 of 256. Raises MinicnnError for a thread of a picture, which would become huge.
    """
    factor = max(height / picture.height, width / picture.width, (resize or 0) / min(picture.size))
    high, wide = max(height, round(factor * picture.height)), max(width, round(factor * picture.width))
    if high * wide > MAX_PIXELS:
        raise MinicnnError(f"{picture.width}x{picture.height} is too narrow to be cut to {width}x{height}")
    if (wide, high) != picture.size:
        picture = picture.resize((wide, high), Image.Resampling.BICUBIC)
    left, top = (wide - width) // 2, (high - height) // 2
    return picture.crop((left, top, left + width, top + height))


def save_png(path: str | os.PathLike[str], picture: Image.Image) -> None:
    """Writes a PNG: the pixels and nothing else, so that equal pixels make equal bytes. Raises as `write_bytes`."""
    plain = picture.copy()
    plain.info = {}  # no resolution, text or colour profile that the picture brought along
    buffer = BytesIO()
    plain.save(buffer, format="PNG")
    write_bytes(path, buffer.getvalue())


def save_gif(path: str | os.PathLike[str], frames: Iterable[Image.Image], fps: float = 10) -> None:
    """Writes an animation that repeats for ever, 0.1 to 50 frames a second; takes one frame at a time into memory.

    Each frame gets its own 256 colours. GIF counts in 1/100 s, and browsers slow down what is faster than 1/50 s.
    """
    if not 0.1 <= fps <= 50:
        raise MinicnnError(f"fps {fps}: expected 0.1 to 50 frames a second")
    coloured = (_with_palette(frame) for frame in frames)
    first = next(coloured, None)
    if first is None:
        raise MinicnnError(f"{os.fspath(path)}: an animation needs at least one frame")
    buffer = BytesIO()
    rest = (_of_size(frame, first.size) for frame in coloured)
    first.save(buffer, format="GIF", save_all=True, append_images=rest, duration=round(100 / fps) * 10, loop=0)
    write_bytes(path, buffer.getvalue())


def _opened(path: Path) -> ImageFile.ImageFile:
    """The picture with its header read and its size found acceptable, not yet decoded."""
    Image.init()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN])
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise MinicnnError(f"{path}: more than {MAX_PIXELS:,} pixels, refused as a decompression bomb") from error
    except UnidentifiedImageError as error:
        what = "empty" if path.stat().st_size == 0 else f"not a picture that can be read here ({', '.join(FORMATS)})"
        raise MinicnnError(f"{path}: {what}") from error
    except OSError as error:
        raise MinicnnError(f"{path}: cannot be read: {reason(error)}") from error
    except Exception as error:  # as in load_picture
        raise MinicnnError(f"{path}: a damaged picture: {_one_line(error)}") from error
    if image.width * image.height > MAX_PIXELS:  # where someone has raised Pillow's limit
        image.close()
        raise MinicnnError(f"{path}: more than {MAX_PIXELS:,} pixels, refused as a decompression bomb")
    return image


def _decoded(image: ImageFile.ImageFile) -> tuple[Image.Image, list[str]]:
    """The picture as 8-bit "RGB" or "L", and what was done to it."""
    said = []
    if getattr(image, "is_animated", False) and image.format != "MPO":  # MPO: a camera's photo with its preview
        said.append("the first of several frames")
    raw = str(image.tile[0][3]) if image.tile else ""  # the names of Pillow's decoders: "RGB;16B"
    image.load()
    turned = image.getexif().get(ORIENTATION, 1) in range(2, 9)
    picture: Image.Image = image
    if turned:
        said.append("turned as its EXIF tag says")
        picture = ImageOps.exif_transpose(image)
    if picture.mode.startswith(("I", "F")):
        picture, how = _eight_bits(picture)
        said.append(how)
    elif ";16" in raw:
        said.append("16 bits a colour reduced to 8")
    if picture.has_transparency_data:
        picture, seen_through = _on_white(picture)
        if seen_through:
            said.append("transparent parts laid on white")
    elif picture.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        said.append(f"{picture.mode} converted to RGB")
    grey = picture.mode in ("1", "L")
    return picture.convert("L" if grey else "RGB"), said


def _eight_bits(image: Image.Image) -> tuple[Image.Image, str]:
    """A grey picture of 16 or 32 bits, or of floats, in 8 bits; and how. Its transparency stays."""
    values = np.asarray(image).astype(np.float64)  # (H, W)
    if not np.isfinite(values).all():
        raise MinicnnError(f"{(~np.isfinite(values)).sum()} of {values.size} values are not finite")
    low, high = float(values.min()), float(values.max())
    full = 1.0 if image.mode == "F" else 65535.0
    if low >= 0 and high <= full:
        values, how = values / full, "float values reduced to 8 bits" if image.mode == "F" else "16 bits reduced to 8"
    else:
        values = (values - low) / (high - low) if high > low else np.full_like(values, 0.5)
        how = f"values from {low:g} to {high:g} stretched to 8 bits"
    grey = to_picture(values[None])
    clear: Any = image.info.get("transparency")
    if isinstance(clear, int):  # a grey value that stands for "nothing here"
        grey = Image.merge("LA", (grey, Image.fromarray(np.where(np.asarray(image) == clear, 0, 255).astype(np.uint8))))
    return grey, how


def _on_white(picture: Image.Image) -> tuple[Image.Image, bool]:
    """The picture laid on white, and whether any of it was transparent at all."""
    layered = picture.convert("RGBA")
    seen_through = layered.getchannel("A").getextrema() != (255, 255)
    white = Image.new("RGBA", layered.size, "white")
    flat = Image.alpha_composite(white, layered).convert("RGB")
    grey = picture.mode in ("1", "L", "LA", "La")
    return flat.convert("L") if grey else flat, seen_through


def _with_palette(frame: Image.Image) -> Image.Image:
    if frame.mode == "L":
        return frame
    colours = frame.convert("RGB")
    palette = colours.quantize(256)
    return colours.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)


def _of_size(frame: Image.Image, size: tuple[int, int]) -> Image.Image:
    if frame.size != size:
        raise MinicnnError(f"a frame of {frame.width}x{frame.height} in an animation of {size[0]}x{size[1]}")
    return frame


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
