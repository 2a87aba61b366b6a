"""Measures of a frame on the grid of its latent: 32x32 pixels a tile. Faults of arithmetic end at this grid."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from sana_wm.sizes import PIXELS_PER_LATENT

#: White noise has a mean square Laplacian of 20 times its variance, a checkerboard of single pixels 64 times.
NOISE_ROUGHNESS, CHECKERBOARD_ROUGHNESS = 10.0, 40.0
#: Luma deviation of noise. Decoded noise of random weights has 30 to 34, uniform noise of three channels 55, of one 74.
COLOUR_NOISE_STD, GREY_NOISE_STD = 45.0, 60.0
#: Mean deviation over standard deviation: 0.80 of normal, 0.87 of uniform noise; below it are dots: stars, snow.
NOISE_EVENNESS = 0.72
#: Channels of a picture go up and down together, even in grain; those of noise do not.
CHANNEL_CORRELATION = 0.3
#: Most saturated values beside a block that still count as none, and the steps that texture there has.
CLEAN_SHARE, TEXTURE_STEP = 0.2, 1.5

#: Widest comb, in pixels.
COMB_PERIOD = 12
#: Blocks are in no order when neighbours, and those after next, differ like any others, by at least some levels.
IN_ORDER, LEAST_DIFFERENCE = 0.75, 4.0

Tiles = NDArray[np.float32]
_SIDES = ((0, -1), (0, 1), (1, -1), (1, 1))


class TileKind(IntEnum):
    """What a tile consists of, where that is none of what pictures consist of."""

    PICTURE = 0
    COLOUR_NOISE = 1
    GREY_NOISE = 2
    CHECKERBOARD = 3


def split_tiles(pixels: NDArray[np.generic]) -> NDArray[np.generic]:
    """(H, W, …) -> (h, w, 32, 32, …); a rest that fills no tile is left out."""
    size = PIXELS_PER_LATENT
    rows, columns = pixels.shape[0] // size, pixels.shape[1] // size
    whole = pixels[: rows * size, : columns * size]
    return whole.reshape(rows, size, columns, size, *pixels.shape[2:]).swapaxes(1, 2)


def mean_colours(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mean colour of every tile, uint8 (h, w, 3): what a latent says of it, too."""
    return split_tiles(frame).mean((2, 3), dtype=np.float32).round().astype(np.uint8)


def fingerprints(frame: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """A number of every tile, uint32 (h, w): equal for equal tiles, else equal once in four thousand million."""
    tiles = split_tiles(frame)
    words = np.ascontiguousarray(tiles).reshape(*tiles.shape[:2], -1).view("<u4")
    factors = np.random.default_rng(0).integers(0, 2**32, words.shape[-1], dtype=np.uint32) | 1
    return np.einsum("ijk,k->ij", words, factors, dtype=np.uint32)


def kinds(frame: NDArray[np.uint8], luma: Tiles, laplacian: Tiles) -> NDArray[np.uint8]:
    """The `TileKind` of every tile, uint8 (h, w).

    Args:
        frame: uint8 (H, W, 3).
        luma: (H, W), 0 to 255.
        laplacian: The luma's 4-neighbour Laplacian, (H, W), zero on the border.
    """
    values = split_tiles(luma)
    variance = values.var((2, 3))
    roughness = np.square(split_tiles(laplacian)).mean((2, 3)) / np.maximum(variance, 1e-6)
    found = np.zeros(variance.shape, np.uint8)
    suspects = (roughness > NOISE_ROUGHNESS) & (variance > COLOUR_NOISE_STD**2)
    colours = split_tiles(frame)
    for row, column in np.argwhere(suspects).tolist():
        tile, std = values[row, column], float(np.sqrt(variance[row, column]))
        if roughness[row, column] > CHECKERBOARD_ROUGHNESS:
            found[row, column] = TileKind.CHECKERBOARD
        elif float(np.abs(tile - tile.mean()).mean()) < NOISE_EVENNESS * std:
            continue
        elif _channels_agree_little(colours[row, column]):
            found[row, column] = TileKind.COLOUR_NOISE
        elif std > GREY_NOISE_STD:
            found[row, column] = TileKind.GREY_NOISE
    return found


def _channels_agree_little(tile: NDArray[np.generic]) -> bool:
    steps = np.diff(tile.astype(np.float32), axis=1).reshape(-1, 3)
    if not steps.std(0).all():
        return False
    agreement = np.asarray(np.corrcoef(steps.T))
    return float(np.abs(agreement[[0, 0, 1], [1, 2, 2]]).max()) < CHANNEL_CORRELATION


def saturated_block_edges(frame: NDArray[np.uint8], luma: Tiles) -> int:
    """How many tile edges bound a block of black or white tiles that is cut out of a textured picture.

    A tile counts when all its values are 0, or all 255. A dark place of a picture ends somewhere within a tile; what
    was never written ends at the grid. Masks and horizons are left out: what covers two opposite sides of the frame
    (a letterbox), and what only ends above or below (a silhouette).

    Returns:
        0 where there is no such block, or as many dark places that end within tiles.
    """
    cut, soft = np.zeros((2, 2), int), 0
    for value in (0, 255):
        at_limit = frame == value
        full = np.asarray(split_tiles(at_limit).all((2, 3, 4)))
        masks = (full[0].all() and full[-1].all()) or (full[:, 0].all() and full[:, -1].all())
        if not full.any() or masks:
            continue
        for axis, side in _SIDES:
            counted = _edges_of(full, at_limit, luma, axis, side)
            cut[axis, max(side, 0)] += counted[0]
            soft += counted[1]
    left_or_right = cut[1] > 0
    only_one_side = left_or_right.sum() == 1  # a pillarbox has both, and is no fault
    if soft * 4 > cut.sum() or not (left_or_right.any() and (cut[0].any() or only_one_side)):
        return 0
    return int(cut.sum())


def _edges_of(
    full: NDArray[np.bool_], at_limit: NDArray[np.bool_], luma: Tiles, axis: int, side: int
) -> tuple[int, int]:
    """Edges on one side of full tiles: where a textured picture begins at once, and where the tile's value goes on."""
    inside = np.moveaxis(full, axis, 0)
    neighbours = np.roll(inside, -side, axis=0)
    edges = inside & ~neighbours
    edges[-1 if side == 1 else 0] = False  # the frame's own border
    lines = np.moveaxis(at_limit, axis, 0)
    brightness = np.moveaxis(luma, axis, 0)
    cut = soft = 0
    for row, column in np.argwhere(edges).tolist():
        line = (row + 1) * PIXELS_PER_LATENT if side == 1 else row * PIXELS_PER_LATENT - 1
        along = slice(column * PIXELS_PER_LATENT, (column + 1) * PIXELS_PER_LATENT)
        if lines[line, along].mean() >= CLEAN_SHARE:
            soft += 1
        elif float(np.abs(np.diff(brightness[line, along])).mean()) > TEXTURE_STEP:
            cut += 1
    return cut, soft


def comb_share(frame: NDArray[np.uint8]) -> float:
    """Share of rows, or of columns, that hold one value each, in a regular comb with textured ones.

    Lines that were never written, or written by another stride; blinds and fences are wider.
    """
    return max(_comb(frame), _comb(frame.swapaxes(0, 1)))


def _comb(lines: NDArray[np.uint8]) -> float:
    flat = (lines == lines[:, :1]).all((1, 2))
    begins = np.flatnonzero(np.diff(flat.astype(np.int8)) == 1)
    if len(begins) < 8 or flat.all():
        return 0.0
    apart = np.diff(begins)
    period = float(np.median(apart))
    if period > COMB_PERIOD or np.mean(apart == period) < 0.9:
        return 0.0
    textured = float(np.median(lines[~flat, :, 1].std(1)))
    return float(flat.mean()) if textured > 8 else 0.0


def seam_ratio(luma: Tiles) -> float:
    """Steps across a grid of 16 or 32 pixels against those beside it, where the blocks between are in no order.

    Returns:
        1 or less for a picture; 0 where neighbouring blocks resemble each other, as those of patterns do.
    """
    return max(_seams(values, size) for values in (luma, luma.T) for size in (16, 32))


def _seams(values: Tiles, size: int) -> float:
    if values.shape[0] < 8 * size:
        return 0.0
    steps = np.abs(np.diff(values, axis=0)).mean(1)
    # What is drawn has edges at other places, too: it is held against the one with the most.
    across, *others = (float(np.median(steps[phase::size])) for phase in (size - 1, *range(size - 1)))
    beside = max(others)
    if across < beside + LEAST_DIFFERENCE:
        return 0.0
    count, width = values.shape[0] // size, values.shape[1] // PIXELS_PER_LATENT
    whole = values[: count * size, : width * PIXELS_PER_LATENT]
    blocks = whole.reshape(count, size, width, PIXELS_PER_LATENT).mean((1, 3))
    apart = [float(np.abs(blocks[lag:] - blocks[:-lag]).mean()) for lag in range(1, count // 2)]
    usual = float(np.mean(apart[2:]))
    if usual < LEAST_DIFFERENCE or min(apart[:2]) < IN_ORDER * usual:
        return 0.0
    return across / max(beside, 0.5)
