# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Figures of papers: rows of panels under common heads, heat maps, and their files."""

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw

from mmfss.utils.files import atomic_write, check_writable

from .sheet import GREY, INK, Panel, _font, resize_to_height, tile

SUFFIXES = ('.png', '.jpg', '.jpeg', '.pdf')
DPI = 200  # written into the file: what a page takes a pixel for


def compose_grid(rows: Sequence[tuple[str, Sequence[Panel]]], height: int = 200) -> np.ndarray:
    """Rows of panels with common heads above and a label at the left of each row.

    The heads are the titles of the first row's panels. Words that all rows have as their note stand once below the
    head; other notes, and whatever holds a number, stand below their panels.

    Args:
        rows (Sequence[tuple]): (label, panels) of each row, with the same number of panels; legends are not drawn.
        height (int): Height of the panels, pixels; everything else scales with it. Defaults to 200.

    Returns:
        np.ndarray: uint8 RGB.

    Raises:
        ValueError: When there is no row, or rows differ in their number of panels.
    """
    counts = {len(panels) for _, panels in rows}
    if len(counts) != 1:
        raise ValueError(f'compose_grid needs rows with the same number of panels; got {sorted(counts) or "no row"}')
    gap, bold, plain = max(3, height // 25), _font(height // 11, True), _font(height // 14, False)
    line = round(plain.size * 1.4)
    blocks = [[tile(panel.images, height, max(2, height // 75)) for panel in panels] for _, panels in rows]
    columns = list(zip(*(panels for _, panels in rows), strict=True))  # panels by column
    common = [_shared_note([panel.note for panel in column]) for column in columns]
    notes = [['' if shared else panel.note for panel, shared in zip(panels, common, strict=True)] for _, panels in rows]
    widths = [
        max(
            [block.shape[1] for block in column]
            + [round(bold.getlength(panels[0].title))]
            + [round(plain.getlength(text)) for text in (shared, *texts)]
        )
        for column, panels, shared, texts in zip(
            zip(*blocks, strict=True), columns, common, zip(*notes, strict=True), strict=True
        )
    ]

    left, head = round(bold.size * 1.6) + gap, gap + round(bold.size * 1.5) + (line if any(common) else 0)
    steps = [height + (line if any(texts) else 0) + gap for texts in notes]
    page = Image.new('RGB', (left + sum(widths) + gap * len(widths), head + sum(steps)), 'white')
    draw, x = ImageDraw.Draw(page), left
    for column, (panels, shared, width) in enumerate(zip(columns, common, widths, strict=True)):
        middle, y = x + width // 2, head
        draw.text((middle, gap + bold.size), panels[0].title, INK, bold, anchor='ms')
        draw.text((middle, head - round(line * 0.35)), shared, GREY, plain, anchor='ms')
        for row_blocks, texts, step in zip(blocks, notes, steps, strict=True):
            block = row_blocks[column]
            page.paste(Image.fromarray(block), (middle - block.shape[1] // 2, y))
            draw.text((middle, y + height + plain.size), texts[column], GREY, plain, anchor='ms')
            y += step
        x += width + gap
    y = head
    for (label, _), step in zip(rows, steps, strict=True):
        page.paste(_upright(label, bold, height), (gap, y))
        y += step
    return np.asarray(page)


def _shared_note(notes: Sequence[str]) -> str:
    """The note of all rows; '' where they differ or measure something, which is each row's own by accident only."""
    return notes[0] if len(set(notes)) == 1 and not any(c.isdigit() for c in notes[0]) else ''


def _upright(text: str, font, length: int) -> Image.Image:
    """Text from bottom to top on an image (font height, length); what is too long is shortened."""
    while text and font.getlength(text) > length:
        text = text[:-2].rstrip() + '…' if len(text) > 2 else ''
    image = Image.new('RGB', (length, round(font.size * 1.5)), 'white')
    ImageDraw.Draw(image).text((length // 2, font.size * 1.1), text, INK, font, anchor='ms')
    return image.rotate(90, expand=True)


def heat_map(
    image: np.ndarray, values: np.ndarray, height: int = 200, alpha: float = 0.65, colors: str = 'inferno'
) -> np.ndarray:
    """Values as colours over the grey image, from their lowest (dark) to their highest (bright).

    Args:
        image (np.ndarray): (h, w, 3) uint8 RGB.
        values (np.ndarray): (h', w') of the same view.
        height (int): Height of the result, pixels. Defaults to 200.
        alpha (float): Weight of the colours. Defaults to 0.65.
        colors (str): Name of a colour map of matplotlib. Defaults to 'inferno', which grows brighter throughout.

    Returns:
        np.ndarray: (height, w'', 3) uint8 RGB.
    """
    canvas = resize_to_height(image, height)
    values = cv2.resize(values.astype(np.float32), canvas.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    scaled = (values - values.min()) / max(float(np.ptp(values)), 1e-12)
    tint = colormaps[colors](scaled)[..., :3] * 255
    grey = cv2.cvtColor(canvas, cv2.COLOR_RGB2GRAY)[..., None]
    return (grey * (1 - alpha) + tint * alpha).round().astype(np.uint8)


def check_figure_path(path: str | Path) -> Path:
    """The path, if a figure can be written as such a file.

    Raises:
        ValueError: When the suffix is another, or the path is a folder.
        OSError: When its folder cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES or path.is_dir():
        raise ValueError(f'{path} is no figure file: its name must end with one of {", ".join(SUFFIXES)}')
    check_writable(path.parent)
    return path


def save_figure(figure: np.ndarray, path: str | Path, quality: int = 88) -> None:
    """Write a figure as PNG, JPEG or PDF, by the suffix; whole or not at all.

    Args:
        figure (np.ndarray): (h, w, 3) uint8 RGB.
        path (str | Path): Missing folders are made.
        quality (int): Of JPEG, also inside a PDF. Defaults to 88.

    Raises:
        OSError: When the file cannot be written.
        ValueError: When the suffix is another.
    """
    path, buffer = check_figure_path(path), io.BytesIO()
    kind = {'.png': 'PNG', '.pdf': 'PDF'}.get(path.suffix.lower(), 'JPEG')
    options = dict(
        PNG=dict(optimize=True, dpi=(DPI, DPI)),
        PDF=dict(resolution=DPI, quality=quality),
        JPEG=dict(quality=quality, optimize=True, dpi=(DPI, DPI)),
    )[kind]
    Image.fromarray(figure).save(buffer, kind, **options)
    atomic_write(buffer.getvalue(), path)
