"""Small pictures out of large ones by means over areas, so that sensor noise averages out."""

from __future__ import annotations

import functools

import numpy as np

from mmstream.types import Float32, UInt8


def area_reduced(luma: UInt8, rows: int, cols: int) -> Float32:
    """(H, W) uint8 -> (rows, cols) float32: means over cells of whole pixels that cover the picture.

    Two matrix products: 48 against 210 microseconds for summing 134 x 240 to 36 x 64 with ``np.add.reduceat``. Sums are
    whole numbers, exact in float32 up to cells of 65,000 pixels.

    >>> area_reduced(np.arange(8, dtype=np.uint8).reshape(2, 4), 1, 2)
    array([[2.5, 4.5]], dtype=float32)
    """
    down, right, areas = _plan(*luma.shape, rows, cols)
    means: Float32 = (down @ luma.astype(np.float32) @ right) / areas
    return means


@functools.lru_cache(maxsize=64)  # a feed has one shape and three grids; most feeds of a site share them
def _plan(height: int, width: int, rows: int, cols: int) -> tuple[Float32, Float32, Float32]:
    """Which rows and columns belong to which cell, (rows, H) and (W, cols), and how many pixels each has."""
    down, right = _membership(height, rows), _membership(width, cols).T
    return down, np.ascontiguousarray(right), np.outer(down.sum(1), right.sum(0))


def _membership(length: int, num_cells: int) -> Float32:
    edges = np.arange(num_cells + 1) * length // num_cells
    # a picture smaller than the grid has empty cells, which get the pixel they begin at
    ends = np.maximum(edges[1:], edges[:-1] + 1)
    at = np.arange(length)
    inside = (at >= edges[:-1, None]) & (at < ends[:, None])
    return inside.astype(np.float32)
