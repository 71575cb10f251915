# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Drawing one row of titled panels: pure functions from arrays to an RGB array, without pyplot's global state.

Images are (h, w, 3) uint8 RGB, masks (h, w); an image and its mask may differ in size, both are
brought to the size at which they are shown.
"""

import colorsys
import os.path as osp
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

GIVEN = (0, 120, 230)  # blue: annotation. Both colours are told apart by colour-blind readers too.
PREDICTED = (230, 85, 0)  # vermilion: prediction
INK = (25, 25, 25)
GREY = (110, 110, 110)


@dataclass
class Panel:
    """One column of a sheet.

    Args:
        title (str): Bold first line above the panel.
        images (list[np.ndarray]): One image, or several that are tiled into the panel.
        note (str): Grey second line above the panel. Defaults to ''.
        legend (list[tuple]): (name, RGB colour) pairs listed below the panel. Defaults to none.
    """

    title: str
    images: list[np.ndarray]
    note: str = ''
    legend: list[tuple[str, tuple[int, int, int]]] = field(default_factory=list)


def resize_to_height(image: np.ndarray, height: int, width: int | None = None) -> np.ndarray:
    """Resize an image for display, averaging when it shrinks; without a width the aspect is kept."""
    if width is None:
        width = max(1, round(image.shape[1] * height / image.shape[0]))
    shrinks = height < image.shape[0]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def overlay_mask(
    image: np.ndarray,
    mask: np.ndarray,
    color: tuple[int, int, int],
    height: int = 480,
    alpha: float = 0.5,
) -> np.ndarray:
    """Tint the pixels where ``mask`` is 1 and outline them.

    Args:
        image (np.ndarray): (h, w, 3) uint8 RGB.
        mask (np.ndarray): Any size of the same view; only the value 1 is drawn, 0 and 255 are not.
        color (tuple[int]): RGB.
        height (int): Height of the result, pixels. Defaults to 480.
        alpha (float): Weight of the colour. Defaults to 0.5.

    Returns:
        np.ndarray: (height, w', 3) uint8 RGB.
    """
    canvas = resize_to_height(image, height)
    shape = canvas.shape[1::-1]
    # Linear resizing of the binary mask, cut at one half, gives smooth edges at display size.
    region = cv2.resize((mask == 1).astype(np.float32), shape, interpolation=cv2.INTER_LINEAR) >= 0.5
    canvas = _blend(canvas, region, color, alpha)
    return _outline(canvas, region, color)


def overlay_index_map(
    image: np.ndarray,
    index_map: np.ndarray,
    names: Sequence[str],
    height: int = 480,
    alpha: float = 0.6,
) -> tuple[np.ndarray, list[tuple[str, tuple[int, int, int]]]]:
    """Tint every class of an index map in its own colour; 0 is background and stays clear.

    Args:
        image (np.ndarray): (h, w, 3) uint8 RGB.
        index_map (np.ndarray): Values 0..len(names); value i > 0 is ``names[i - 1]``.
        names (Sequence[str]): Names of the base classes.
        height (int): Height of the result, pixels. Defaults to 480.
        alpha (float): Weight of the colours. Defaults to 0.6.

    Returns:
        tuple: (height, w', 3) uint8 RGB and the legend of the classes to be seen, the largest
            first.
    """
    canvas = resize_to_height(image, height)
    index_map = cv2.resize(index_map.astype(np.float32), canvas.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    index_map = index_map.astype(np.int64)
    values, areas = np.unique(index_map, return_counts=True)
    legend = []
    for value in values[np.argsort(-areas, kind='stable')]:
        if not 1 <= value <= len(names):
            continue
        color = class_color(int(value))
        region = index_map == value
        canvas = _outline(_blend(canvas, region, color, alpha), region, color)
        if region.mean() >= 0.002:  # a legend entry for a handful of pixels explains nothing
            legend.append((names[value - 1], color))
    return canvas, legend


@cache
def class_color(index: int) -> tuple[int, int, int]:
    """A colour for a class index that is the same on every sheet; neighbours on the list lie far apart."""
    hue = (0.33 + index * 0.618034) % 1.0
    value = (0.95, 0.75, 0.85)[index % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _blend(canvas: np.ndarray, region: np.ndarray, color: tuple[int, int, int], alpha: float) -> np.ndarray:
    canvas = canvas.copy()
    canvas[region] = (canvas[region] * (1 - alpha) + np.array(color) * alpha).astype(np.uint8)
    return canvas


def _outline(canvas: np.ndarray, region: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    contours, _ = cv2.findContours(region.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    width = max(1, round(canvas.shape[0] / 200))
    canvas = np.ascontiguousarray(canvas)
    # A white halo keeps the line visible on an image of its own colour.
    for edge, thickness in (((255, 255, 255), width + 2), (color, width)):
        cv2.drawContours(canvas, contours, -1, edge, thickness, cv2.LINE_AA)
    return canvas


def tile(images: Sequence[np.ndarray], height: int, gap: int) -> np.ndarray:
    """Tile images into a block of exactly ``height``: rows of equal width, no image cropped or distorted.

    The number of rows is the one whose block comes closest to the shape of a photo (4 : 3).
    """
    aspects = [image.shape[1] / image.shape[0] for image in images]
    best = None
    for rows in range(1, len(images) + 1):
        groups = np.array_split(np.arange(len(images)), rows)
        # A row of images with aspect sum A and n - 1 gaps is (W - (n - 1) gap) / A high; the
        # heights add up to `height`.
        sums = [sum(aspects[i] for i in group) for group in groups]
        spare = height - (rows - 1) * gap + sum((len(g) - 1) * gap / a for g, a in zip(groups, sums, strict=True))
        width = spare / sum(1 / a for a in sums)
        distance = abs(np.log(width / height / (4 / 3)))
        if best is None or distance < best[0]:
            best = (distance, groups, sums, round(width))
    _, groups, sums, width = best
    block = np.full((height, width, 3), 255, np.uint8)
    top = 0
    for position, (group, aspect_sum) in enumerate(zip(groups, sums, strict=True)):
        last_row = position == len(groups) - 1
        row_height = height - top if last_row else round((width - (len(group) - 1) * gap) / aspect_sum)
        left = 0
        for i in group:
            cell = width - left if i == group[-1] else round(aspects[i] * row_height)
            block[top : top + row_height, left : left + cell] = resize_to_height(images[i], row_height, cell)
            left += cell + gap
        top += row_height + gap
    return block


def compose_sheet(panels: Sequence[Panel], header: str = '', subheader: str = '', height: int = 300) -> np.ndarray:
    """Put panels of equal height side by side under one header.

    Args:
        panels (Sequence[Panel]): From left to right.
        header (str): Bold line at the top. Defaults to ''.
        subheader (str): Grey text behind the header. Defaults to ''.
        height (int): Height of the panels, pixels; everything else scales with it. Defaults to 300.

    Returns:
        np.ndarray: The sheet, uint8 RGB.
    """
    gap, small = max(4, height // 25), max(2, height // 75)
    head_font, bold, plain = (
        _font(height // 14, True),
        _font(height // 17, True),
        _font(height // 19, False),
    )
    line = round(plain.size * 1.45)
    blocks = [tile(panel.images, height, small) for panel in panels]
    legends = [_wrap_legend(panel.legend, plain, block.shape[1]) for panel, block in zip(panels, blocks, strict=True)]
    top = gap + (round(head_font.size * 1.8) if header else 0)
    titles = round(bold.size * 1.5)
    notes = line if any(panel.note for panel in panels) else 0
    foot = max(map(len, legends)) * line
    widths = [
        max(block.shape[1], round(bold.getlength(panel.title)), round(plain.getlength(panel.note)))
        for panel, block in zip(panels, blocks, strict=True)
    ]
    total = max(
        sum(widths) + gap * (len(panels) + 1),
        round(head_font.getlength(header) + plain.getlength(subheader)) + 3 * gap,
    )

    sheet = Image.new('RGB', (total, top + titles + notes + height + gap + foot), 'white')
    draw = ImageDraw.Draw(sheet)
    if header:
        base_line = gap + head_font.size
        draw.text((gap, base_line), header, INK, head_font, anchor='ls')
        draw.text((2 * gap + head_font.getlength(header), base_line), subheader, GREY, plain, anchor='ls')
    left = gap
    for panel, block, legend, width in zip(panels, blocks, legends, widths, strict=True):
        draw.text((left, top + bold.size), panel.title, INK, bold, anchor='ls')
        draw.text((left, top + titles + plain.size * 0.95), panel.note, GREY, plain, anchor='ls')
        image_top = top + titles + notes
        sheet.paste(Image.fromarray(block), (left, image_top))
        _draw_legend(draw, legend, plain, left, image_top + height + gap // 2, line)
        left += width + gap
    return np.asarray(sheet)


def _wrap_legend(legend: list, font: ImageFont.FreeTypeFont, width: int) -> list[list[tuple]]:
    """Break legend entries into lines that fit ``width``; entry = (name, colour, offset)."""
    lines, offset = [], 0
    for name, color in legend:
        length = round(font.size * 2.1 + font.getlength(name))
        if not lines or offset + length > width:
            lines.append([])
            offset = 0
        lines[-1].append((name, color, offset))
        offset += length
    return lines


def _draw_legend(
    draw: ImageDraw.ImageDraw,
    lines: list,
    font: ImageFont.FreeTypeFont,
    left: int,
    top: int,
    line: int,
) -> None:
    side = round(font.size * 0.8)
    for row, entries in enumerate(lines):
        base = top + row * line + font.size
        for name, color, offset in entries:
            draw.rectangle((left + offset, base - side, left + offset + side, base), fill=color)
            draw.text((left + offset + side * 1.5, base), name, INK, font, anchor='ls')


@cache
def _font(size: int, is_bold: bool) -> ImageFont.FreeTypeFont:
    """DejaVu Sans as matplotlib ships it: present wherever mmengine is, whatever the system."""
    name = 'DejaVuSans-Bold.ttf' if is_bold else 'DejaVuSans.ttf'
    return ImageFont.truetype(osp.join(matplotlib.get_data_path(), 'fonts', 'ttf', name), max(8, size))
