"""Small pictures for what is committed."""

from __future__ import annotations

import io

from PIL import Image


def smaller_png(png: bytes) -> bytes:
    """The picture with at most 256 colours."""
    picture, file = Image.open(io.BytesIO(png)).convert("RGB"), io.BytesIO()
    # Maximum coverage keeps the rare colours, such as those of a colour bar.
    reduced = picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    reduced.save(file, "png", optimize=True)
    return file.getvalue()
