# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Light and camera: illumination, tone, blur, sensor noise. JPEG artefacts come with the file."""

import cv2
import numpy as np


def photograph(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Turns painted colours (H, W, 3) float32 RGB 0..1 into a photo (H, W, 3) uint8 RGB."""
    image = np.clip(image, 0, 1) * _illumination(rng, image.shape[0])[..., None]
    image = image * (1 + rng.normal(0, 0.06, 3).astype(np.float32))  # white balance
    image = np.clip(image * rng.uniform(0.8, 1.15), 0, 1) ** rng.uniform(0.75, 1.35)
    blur = rng.uniform(0, 0.8)
    if blur > 0.25:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    noise = rng.normal(0, 1, image.shape) * rng.uniform(0, 0.03)
    return np.round(np.clip(image + noise, 0, 1) * 255).astype(np.uint8)


def _illumination(rng: np.random.Generator, size: int) -> np.ndarray:
    """Brightness (size, size) float32 around 1: light from one side, and sometimes a spot."""
    y, x = np.mgrid[:size, :size].astype(np.float32) / size - 0.5
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.6)
    light = 1 + strength * (np.cos(angle) * x + np.sin(angle) * y)
    if rng.random() < 0.4:
        centre, width = rng.uniform(-0.5, 0.5, 2), rng.uniform(0.15, 0.4)
        light += rng.uniform(-0.35, 0.35) * np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * width**2))
    return light
