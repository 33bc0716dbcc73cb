"""Edits of decoded pictures that make a normal recording unusual by a known amount (`algorithms` 8.2 A, B, E).

Every function takes and gives (n, height, width, 3) uint8 RGB. What is edited, what is left alone and what is a
sham is then encoded once with the same settings (`sources.writing`), so that no codec's trace marks an event.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from mmstream.types import Float32, UInt8

DIFFERENT = 18
"""Levels between a picture and the empty scene from which on something is there."""
FEATHER_PX = 1.5
MIN_BLOB_SHARE = 0.15
"""A box with less of something in it than this holds nothing worth cutting out."""
MAX_AROUND_SHARE = 0.15
"""With more than this just outside its box, a thing would be cut through."""

Mask = npt.NDArray[np.bool_]


def tempo(pictures: UInt8, factor: float) -> UInt8:
    """Everything ``factor`` times as fast: the nearest picture of each moment, none blended.

    >>> tempo(np.arange(6, dtype=np.uint8)[:, None, None, None], 2.0).ravel().tolist()
    [0, 2, 4]
    """
    if factor <= 0:
        raise ValueError(f"want a tempo above 0, got {factor}")
    numbers = np.minimum((np.arange(len(pictures) / factor) * factor).astype(int), len(pictures) - 1)
    faster: UInt8 = pictures[numbers]
    return faster


def reverse(pictures: UInt8) -> UInt8:
    """Everybody walks backwards."""
    return pictures[::-1]


def freeze(pictures: UInt8) -> UInt8:
    """The first picture again and again, its noise too, as a hung camera sends it."""
    return np.broadcast_to(pictures[:1], pictures.shape)


def cover(pictures: UInt8, share: float) -> UInt8:
    """Something dark before the lens, from the left, over ``share`` of the width, with a soft edge."""
    width = pictures.shape[2]
    columns = np.arange(width, dtype=np.float32)
    clear = np.clip((columns - share * width) / (0.05 * width) + 0.5, 0.0, 1.0)[None, None, :, None]
    if share >= 1.0:
        clear = np.zeros_like(clear)
    return _to_uint8(pictures * clear + 12.0 * (1.0 - clear))


def defocus(pictures: UInt8, sigma_px: float) -> UInt8:
    """A Gaussian blur: breath, dew, or a turned focus ring."""
    blur = ImageFilter.GaussianBlur(sigma_px)
    return np.stack([np.asarray(Image.fromarray(picture).filter(blur)) for picture in pictures])


def shift(pictures: UInt8, share: float) -> UInt8:
    """The camera knocked aside by ``share`` of the width; the edge repeats what is seen there."""
    width = pictures.shape[2]
    moved: UInt8 = pictures[:, :, np.clip(np.arange(width) + round(share * width), 0, width - 1)]
    return moved


def empty_scene(pictures: UInt8) -> UInt8:
    """(height, width, 3): the median, in which nobody stays who moves."""
    median: UInt8 = np.median(pictures, axis=0).astype(np.uint8)
    return median


def something_there(pictures: UInt8, empty: UInt8) -> Mask:
    """(n, height, width): where the pictures differ from the empty scene."""
    difference = np.abs(pictures.astype(np.int16) - empty.astype(np.int16))
    there: Mask = difference.max(axis=3) > DIFFERENT
    return there


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Blob:
    """Something that moves, cut out of a recording with the path that it took."""

    pictures: UInt8
    """(n, rows, columns, 3)."""
    opacity: Float32
    """(n, rows, columns) in 0..1, feathered."""
    corners: npt.NDArray[np.int_]
    """(n, 2): row and column of the top left corner."""

    def faster(self, factor: float) -> Blob:
        """The same path at another speed."""
        numbers = np.minimum((np.arange(len(self.corners) / factor) * factor).astype(int), len(self.corners) - 1)
        return Blob(pictures=self.pictures[numbers], opacity=self.opacity[numbers], corners=self.corners[numbers])


def cut_blob(pictures: UInt8, empty: UInt8, *, box_px: tuple[int, int]) -> Blob | None:
    """Follow the thing that stands most by itself in the middle picture, as far as it stays by itself.

    ``box_px``: rows and columns of a box around it. None when nothing stands alone.
    """
    masks = something_there(pictures, empty)
    middle = len(pictures) // 2
    corner = _most_alone(masks[middle], box_px)
    if corner is None:
        return None
    later = _path(masks[middle:], corner, box_px)
    earlier = _path(masks[middle::-1], corner, box_px)[1:]
    corners = [*earlier[::-1], *later]
    first = middle - len(earlier)
    numbers = range(first, first + len(corners))
    boxes = [(slice(row, row + box_px[0]), slice(col, col + box_px[1])) for row, col in corners]
    return Blob(
        pictures=np.stack([pictures[number][box] for number, box in zip(numbers, boxes, strict=True)]),
        opacity=np.stack([_feathered(masks[number][box]) for number, box in zip(numbers, boxes, strict=True)]),
        corners=np.array(corners),
    )


def transplant(pictures: UInt8, blob: Blob, empty: UInt8, *, by_px: tuple[int, int]) -> UInt8:
    """Paste the blob, its path moved by (rows, columns), as bright for its new place as it was for its old.

    It appears in the first picture and stays as long as it has pictures. What leaves the picture is cut off.
    """
    pasted = pictures.copy()
    height, width = pictures.shape[1:3]
    rows, cols = blob.opacity.shape[1:]
    for number, (row, col) in enumerate(blob.corners[: len(pictures)].tolist()):
        new_row, new_col = row + by_px[0], col + by_px[1]
        top, left = max(0, -new_row), max(0, -new_col)
        bottom, right = min(rows, height - new_row), min(cols, width - new_col)
        if top >= bottom or left >= right:
            continue
        box = (slice(new_row + top, new_row + bottom), slice(new_col + left, new_col + right))
        inside = (slice(top, bottom), slice(left, right))
        light = empty[box].mean() / max(1.0, float(empty[row : row + rows, col : col + cols].mean()))
        thing = blob.pictures[number][inside] * np.clip(light, 0.6, 1.6)
        opacity = blob.opacity[number][inside][:, :, None]
        pasted[number][box] = _to_uint8(pasted[number][box] * (1.0 - opacity) + thing * opacity)
    return pasted


def rarest_place(
    blob: Blob, occupied: Float32, *, random: np.random.Generator, num_tries: int = 300
) -> tuple[int, int]:
    """By how many rows and columns to move the blob's path so that it leads where nothing ever is.

    ``occupied``: (height, width), the share of normal time that something is there.
    """
    height, width = occupied.shape
    rows, cols = blob.opacity.shape[1:]
    top, left = blob.corners.min(axis=0)
    bottom, right = blob.corners.max(axis=0)
    best, best_occupied = (0, 0), np.inf
    for _ in range(num_tries):
        by = (
            int(random.integers(-top, max(1 - top, height - rows - bottom))),
            int(random.integers(-left, max(1 - left, width - cols - right))),
        )
        centres = blob.corners + by + (rows // 2, cols // 2)
        share = float(occupied[centres[:, 0].clip(0, height - 1), centres[:, 1].clip(0, width - 1)].mean())
        if share < best_occupied:
            best, best_occupied = by, share
    return best


def _most_alone(mask: Mask, box_px: tuple[int, int]) -> tuple[int, int] | None:
    """The box with much inside and little in the frame around it."""
    rows, cols = box_px
    margin = _margin(box_px)
    sums = np.pad(mask, ((1, 0), (1, 0))).astype(np.int64).cumsum(0).cumsum(1)
    outer = _box_sums(sums, rows + 2 * margin, cols + 2 * margin)
    if not outer.size:
        return None
    inner = _box_sums(sums, rows, cols)[margin : margin + outer.shape[0], margin : margin + outer.shape[1]]
    merit = inner - 3.0 * (outer - inner)
    best = np.unravel_index(int(merit.argmax()), merit.shape)
    corner = int(best[0]) + margin, int(best[1]) + margin
    return corner if _is_alone(mask, corner, box_px) else None


def _path(masks: Mask, corner: tuple[int, int], box_px: tuple[int, int]) -> list[tuple[int, int]]:
    """Where the box goes, picture by picture, until what is in it is gone or no longer alone."""
    path = [corner]
    for mask in masks[1:]:
        corner = _followed(mask, corner, box_px)
        if not _is_alone(mask, corner, box_px):
            break
        path.append(corner)
    return path


def _is_alone(mask: Mask, corner: tuple[int, int], box_px: tuple[int, int]) -> bool:
    (row, col), margin = corner, _margin(box_px)
    inside = int(mask[row : row + box_px[0], col : col + box_px[1]].sum())
    top, left = max(0, row - margin), max(0, col - margin)
    around = int(mask[top : row + box_px[0] + margin, left : col + box_px[1] + margin].sum()) - inside
    return inside >= MIN_BLOB_SHARE * box_px[0] * box_px[1] and around <= MAX_AROUND_SHARE * inside


def _margin(box_px: tuple[int, int]) -> int:
    return max(2, min(box_px) // 5)


def _box_sums(sums: npt.NDArray[np.int64], rows: int, cols: int) -> npt.NDArray[np.int64]:
    return sums[rows:, cols:] - sums[:-rows, cols:] - sums[rows:, :-cols] + sums[:-rows, :-cols]


def _followed(mask: Mask, corner: tuple[int, int], box_px: tuple[int, int]) -> tuple[int, int]:
    """The box moved to the centre of what is in it (mean shift, twice: a walker moves less than half a box)."""
    for _ in range(2):
        row, col = corner
        found = np.argwhere(mask[row : row + box_px[0], col : col + box_px[1]])
        if not len(found):
            return corner
        centre = found.mean(axis=0) - (np.array(box_px) - 1) / 2
        corner = (
            int(np.clip(row + round(centre[0]), 0, mask.shape[0] - box_px[0])),
            int(np.clip(col + round(centre[1]), 0, mask.shape[1] - box_px[1])),
        )
    return corner


def _feathered(mask: Mask) -> Float32:
    grown = Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(3))
    soft = np.asarray(grown.filter(ImageFilter.GaussianBlur(FEATHER_PX)), np.float32) / 255.0
    edge = np.ones_like(soft)  # a neighbour cut through by the box must not end in a straight line
    for axis, length in enumerate(soft.shape):
        ramp = np.clip((np.minimum(np.arange(length), np.arange(length)[::-1]) + 0.5) / 4.0, 0.0, 1.0)
        edge *= ramp[:, None] if axis == 0 else ramp[None, :]
    return soft * edge


def _to_uint8(values: npt.NDArray[np.floating]) -> UInt8:
    rounded: UInt8 = np.clip(values + 0.5, 0, 255).astype(np.uint8)
    return rounded
