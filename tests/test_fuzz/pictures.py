# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Pictures of every format that Pillow writes, in every mode that it takes, of any size and turn."""

import io
from dataclasses import dataclass

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from PIL import Image

MODES = dict(
    PNG=('1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'I;16'),
    JPEG=('L', 'RGB', 'CMYK'),
    WEBP=('L', 'RGB', 'RGBA'),
    BMP=('1', 'L', 'P', 'RGB', 'RGBA'),
    TIFF=('1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'CMYK', 'YCbCr', 'LAB', 'I', 'I;16', 'F'),
    GIF=('1', 'L', 'P', 'RGB', 'RGBA'),
    PPM=('1', 'L', 'RGB', 'I', 'I;16', 'F'),
    JPEG2000=('L', 'LA', 'RGB', 'RGBA', 'I;16', 'YCbCr'),
    AVIF=('L', 'RGB', 'RGBA'),
    TGA=('1', 'L', 'LA', 'P', 'RGB', 'RGBA'),
    ICO=('L', 'RGB', 'RGBA'),
    DDS=('L', 'LA', 'RGB', 'RGBA'),
    SGI=('L', 'RGB', 'RGBA'),
    PCX=('1', 'L', 'P', 'RGB'),
    XBM=('1',),
    QOI=('RGB', 'RGBA'),
)
NOT_READ = dict(IM=('L', 'RGB'), MSP=('1',), PDF=('L', 'RGB'), EPS=('L', 'RGB'), SPIDER=('F',))
SUFFIXES = ('.png', '.jpg', '.JPG', '.tif', '.bmp', '.gif', '.webp', '.jp2', '.heic', '.nii.gz', '.dng', '.txt', '')
RESIZED = ('ICO',)  # that its writer changes in size
LOSSLESS = ('PNG', 'BMP', 'TIFF', 'PPM', 'TGA', 'SGI', 'PCX', 'QOI')


@dataclass(frozen=True)
class Picture:
    """A file in memory.

    Attributes:
        data: The bytes.
        format: Pillow's name of it.
        mode: Of the image that was written.
        values: (H, W) or (H, W, C), what was written.
        orientation: EXIF's note, 0 for none.
    """

    data: bytes
    format: str
    mode: str
    values: np.ndarray
    orientation: int

    def _repr_pretty_(self, printer, cycle) -> None:  # hypothesis would print all values
        printer.text(repr(self))

    def __repr__(self) -> str:
        return f'Picture({self.format}, {self.mode}, {self.values.shape}, turn {self.orientation}, {self.data[:16]}...)'

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, upright."""
        H, W = self.values.shape[:2]
        return (W, H) if self.orientation in (5, 6, 7, 8) else (H, W)


sides = st.integers(1, 40) | st.sampled_from([1, 2, 255, 256, 300])
levels = st.sampled_from([(0, 255), (0, 1), (0, 1, 255), (0,), (255,), (0, 3, 7), (0, 128, 255), tuple(range(256))])


@st.composite
def values_of(draw, mode: str, size: tuple[int, int], steps: tuple[int, ...] | None = None) -> np.ndarray:
    """Values of a mode: noise, or of few levels, in blocks."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    steps = draw(levels) if steps is None else steps
    bands = dict(LA=2, RGB=3, YCbCr=3, LAB=3, RGBA=4, CMYK=4).get(mode)
    shape = size if bands is None else (*size, bands)
    base = np.asarray(steps, np.int64)[rng.integers(0, len(steps), shape)]
    if mode == '1':
        return base > 0
    if mode in ('I', 'I;16', 'F'):
        scale = draw(st.sampled_from([1, 1, 16, 257, *((-1, 65536, 2**22) if mode == 'I' else ())]))
        base = base * scale
        if mode == 'F':
            base = base.astype(np.float32) / draw(st.sampled_from([1, 255, 0.001]))
            base.reshape(-1)[0] = draw(st.sampled_from([base.reshape(-1)[0]] * 3 + [np.nan, np.inf, -1, 1e30]))
            return base
        return base.astype(np.int32 if mode == 'I' else np.uint16)
    return base.astype(np.uint8)


def image_of(values: np.ndarray, mode: str, palette: list[int]) -> Image.Image:
    """A PIL image of these values."""
    if mode == '1':
        return Image.fromarray(values)
    if mode == 'P':
        image = Image.fromarray(values)
        image.putpalette(palette)
        return image
    if mode in ('I', 'I;16', 'F', 'L'):
        return Image.fromarray(values)
    return Image.frombytes(mode, values.shape[1::-1], values.tobytes())


@st.composite
def pictures(draw, formats: dict = MODES, steps: tuple[int, ...] | None = None, size=None) -> Picture:
    """A valid file."""
    kind = draw(st.sampled_from(sorted(formats)))
    mode = draw(st.sampled_from(formats[kind]))
    size = size or (draw(sides), draw(sides))
    values = draw(values_of(mode, size, steps))
    colours = draw(st.sampled_from(['voc', 'white first', 'black first', 'greys']))
    palette = dict(
        voc=[0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0] + [17] * 756,
        greys=[level for level in range(256) for _ in range(3)],
    ).get(colours, [255, 255, 255, 0, 0, 0] if colours == 'white first' else [0, 0, 0] + [255] * 765)
    options, orientation = {}, 0
    if kind in ('PNG', 'JPEG', 'WEBP', 'TIFF', 'AVIF') and draw(st.booleans()):
        orientation = draw(st.integers(0, 9))
        exif = Image.Exif()
        exif[274] = orientation
        options['exif'] = exif
    if kind in ('PNG', 'GIF') and mode == 'P' and draw(st.booleans()):
        options['transparency'] = 0
    if kind == 'TIFF':
        options['compression'] = draw(st.sampled_from([None, 'tiff_lzw', 'tiff_deflate', 'packbits']))
    if kind in ('WEBP', 'AVIF'):
        options['quality'] = 50
    stream = io.BytesIO()
    try:
        image_of(values, mode, palette).save(stream, kind, **options)
    except (OSError, ValueError, SystemError, KeyError, RuntimeError):  # the pair or the size is not written
        assume(False)
    return Picture(stream.getvalue(), kind, mode, values, orientation)
