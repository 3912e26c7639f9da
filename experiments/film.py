"""Films: frames as an MP4 that every browser plays (VP9), written by OpenCV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from minicnn.errors import MinicnnError
from minicnn.files import replacing
from minicnn.run import Run


def opencv() -> Any:
    """OpenCV. Raises MinicnnError, with how to install it, where it is missing."""
    try:
        import cv2
    except ImportError:
        raise MinicnnError("an MP4 needs OpenCV: pip install 'minicnn[vision]'; a GIF does not") from None
    return cv2


def save_mp4(run: Run, name: str, frames: Sequence[Image.Image], fps: float) -> None:
    """Writes frames of one size and records the file. Of an odd height or width the last row or column is cut off."""
    cv2 = opencv()
    width, height = (side - side % 2 for side in frames[0].size)  # VP9 halves the resolution of colours
    path = run.path(name)
    with replacing(path) as part:
        whole = part.with_suffix(".mp4")  # the container is chosen by the name
        writer = cv2.VideoWriter(str(whole), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"vp09"), fps, (width, height))
        if not writer.isOpened():
            raise MinicnnError(f"{path}: this OpenCV cannot write VP9; a GIF needs none")
        for frame in frames:
            pixels = np.asarray(frame.convert("RGB"))[:height, :width]
            writer.write(np.ascontiguousarray(pixels[:, :, ::-1]))  # blue first
        writer.release()
        whole.replace(part)
    run.record(name)
