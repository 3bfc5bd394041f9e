"""Pictures that a lab's `figures.py` makes, and how they enter the record. Runs in the judge.

    ImageGrid(
        title="Noising",
        caption="Same noise in both rows.",
        alt="...",
        columns=["t = 0", "t = 999"],
        rows=[
            ("reference", to_images(a)),
            ("yours", to_images(b)),
            ("|difference|, 0 to 2", error_images(a, b, 2)),
        ],
    )

What comes from a student may hold anything: values that are not finite get a colour of their own in an image,
and are left out of a chart with a remark. numpy and Pillow are imported inside functions: commands that grade
nothing load neither.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from grader.results import Picture, Series

if TYPE_CHECKING:
    import numpy as np

Role = Literal["yours", "reference", "other"]

NOT_FINITE = (0, 200, 255)  # bright cyan: occurs in no error map and hardly in a picture
MAX_SIDE = 128
MAX_IMAGES = 100
MAX_POINTS = 240
MAX_BYTES = 120_000

# Black, magenta, yellow, lightness rising evenly: no difference first, the scale's end last.
_ERROR_MAP = (
    (0, 0, 0),
    (44, 10, 70),
    (98, 18, 112),
    (156, 32, 122),
    (212, 56, 104),
    (244, 106, 74),
    (252, 172, 60),
    (255, 244, 150),
)


@dataclass(frozen=True)
class ImageGrid:
    """Small images in rows and columns. An error map's row says its scale: "|difference|, 0 to 2"."""

    title: str
    caption: str
    alt: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[np.ndarray]]]


@dataclass(frozen=True)
class Chart:
    """Lines over one x axis. `limits` are horizontal lines: (label, y)."""

    title: str
    caption: str
    alt: str
    x_label: str
    y_label: str
    series: Sequence[tuple[str, Role, Sequence[tuple[float, float]]]]
    log_y: bool = False
    limits: Sequence[tuple[str, float]] = field(default_factory=list)


def _batch(values: Any, what: str) -> np.ndarray:
    """Return `values` (an array, or an answer's Tensor) as float64 (N, C, H, W)."""
    import numpy as np

    array = np.asarray(getattr(values, "array", values))
    if array.ndim != 4 or 0 in array.shape:
        raise ValueError(f"{what} needs an array of shape (N, C, H, W), got {array.shape}")
    if array.dtype.kind == "c":
        raise ValueError(f"{what} needs real numbers, got {array.dtype}")
    return array.astype(np.float64)


def to_images(values: Any) -> list[np.ndarray]:
    """Turn (N, 3, H, W) or (N, 1, H, W) in [-1, 1] into N uint8 images (H, W, 3).

    Values outside [-1, 1] are clipped; a pixel with a NaN or an infinity is drawn in `NOT_FINITE`.
    """
    import numpy as np

    batch = _batch(values, "to_images")
    if batch.shape[1] not in (1, 3):
        raise ValueError(f"to_images needs 1 or 3 channels, got {batch.shape[1]} (shape {batch.shape})")
    finite = np.isfinite(batch).all(axis=1)
    grey = (np.clip(np.nan_to_num(batch, nan=0.0, posinf=0.0, neginf=0.0), -1, 1) + 1) * 127.5
    images = np.rint(grey).astype(np.uint8).transpose(0, 2, 3, 1)
    images = np.array(np.broadcast_to(images, (*images.shape[:3], 3)), order="C")
    images[~finite] = NOT_FINITE
    return list(images)


def error_images(a: Any, b: Any, scale: float) -> list[np.ndarray]:
    """Map the largest |a - b| over the channels to N uint8 images (H, W, 3): 0 is black, `scale` pale yellow.

    Any number of channels. One `scale` for all images, so that they can be compared. A pixel where one side
    is not finite is drawn in `NOT_FINITE`, unless both sides hold the same value there.
    """
    import numpy as np

    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"error_images needs a scale above 0, got {scale}")
    left, right = _batch(a, "error_images"), _batch(b, "error_images")
    if left.shape != right.shape:
        raise ValueError(f"error_images needs two arrays of one shape, got {left.shape} and {right.shape}")
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    finite = ((np.isfinite(left) & np.isfinite(right)) | same).all(axis=1)
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.where(same, 0.0, np.abs(left - right)).max(axis=1)
    share = np.clip(np.nan_to_num(error, nan=0.0, posinf=scale) / scale, 0, 1) * (len(_ERROR_MAP) - 1)
    stops = np.array(_ERROR_MAP, dtype=np.float64)
    low = np.minimum(share.astype(np.int64), len(stops) - 2)
    part = (share - low)[..., None]
    images = np.rint(stops[low] * (1 - part) + stops[low + 1] * part).astype(np.uint8)
    images[~finite] = NOT_FINITE
    return list(images)


def _png(image: Any, where: str) -> str:
    """Encode one uint8 image (H, W, 3) as base64 PNG, at its own size."""
    import numpy as np
    from PIL import Image

    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise ValueError(f"{where} is no uint8 image (H, W, 3) but {pixels.dtype} {pixels.shape}; use to_images")
    if max(pixels.shape[:2]) > MAX_SIDE:
        raise ValueError(f"{where} is {pixels.shape[1]} x {pixels.shape[0]} pixels; {MAX_SIDE} is the most")
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _grid(task: str, grid: ImageGrid) -> Picture:
    import numpy as np

    columns = [str(column) for column in grid.columns]
    if not grid.rows or not columns:
        raise ValueError(f"the picture {grid.title!r} has no images")
    if len(grid.rows) * len(columns) > MAX_IMAGES:
        raise ValueError(f"the picture {grid.title!r} has more than {MAX_IMAGES} images")
    rows = []
    for label, images in grid.rows:
        if len(images) != len(columns):
            raise ValueError(f"row {label!r} of {grid.title!r} has {len(images)} images for {len(columns)} columns")
        cells = [
            _png(image, f"image {column!r} of row {label!r}") for column, image in zip(columns, images, strict=True)
        ]
        rows.append((str(label), cells))
    caption = grid.caption
    if any((np.asarray(image) == NOT_FINITE).all(axis=-1).any() for _, images in grid.rows for image in images):
        caption += " Bright cyan marks values that are not finite (NaN or infinity)."
    if sum(len(cell) for _, cells in rows for cell in cells) > MAX_BYTES:
        raise ValueError(f"the images of {grid.title!r} are larger than {MAX_BYTES} bytes together")
    return Picture(task=task, title=grid.title, caption=caption, alt=grid.alt, columns=columns, rows=rows)


def _series(label: str, role: Role, points: Sequence[tuple[float, float]], log_y: bool) -> Series:
    if role not in get_args(Role):
        raise ValueError(f"the series {label!r} has the role {role!r}; it must be one of {', '.join(get_args(Role))}")
    pairs = [(float(x), float(y)) for x, y in points]
    finite = [(x, y) for x, y in pairs if math.isfinite(x) and math.isfinite(y)]
    kept = [(x, y) for x, y in finite if y > 0] if log_y else finite
    remarks = []
    if len(finite) < len(pairs):
        remarks.append(f"{len(pairs) - len(finite)} not finite")
    if len(kept) < len(finite):
        remarks.append(f"{len(finite) - len(kept)} not above 0")
    if len(kept) > MAX_POINTS:
        last = len(kept) - 1
        kept = [kept[round(i * last / (MAX_POINTS - 1))] for i in range(MAX_POINTS)]
    # Six digits are more than a page can show, and keep the record small.
    return Series(
        label=f"{label} ({', '.join(remarks)})" if remarks else label,
        role=role,
        points=[(float(f"{x:.6g}"), float(f"{y:.6g}")) for x, y in kept],
    )


def _chart(task: str, chart: Chart) -> Picture:
    if not chart.series:
        raise ValueError(f"the picture {chart.title!r} has no series")
    limits = [(str(label), float(y)) for label, y in chart.limits]
    if any(not math.isfinite(y) or (chart.log_y and y <= 0) for _, y in limits):
        raise ValueError(f"a limit of {chart.title!r} cannot be drawn: {limits}")
    return Picture(
        task=task,
        title=chart.title,
        caption=chart.caption,
        alt=chart.alt,
        x_label=chart.x_label,
        y_label=chart.y_label,
        series=[_series(str(label), role, points, chart.log_y) for label, role, points in chart.series],
        log_y=chart.log_y,
        limits=limits,
    )


def to_record(task: str, picture: ImageGrid | Chart) -> Picture:
    """Return the record of an author's picture; raise ValueError, with a sentence, where that fails."""
    if isinstance(picture, ImageGrid):
        return _grid(task, picture)
    if isinstance(picture, Chart):
        return _chart(task, picture)
    raise ValueError(f"a figure of {task!r} returned {type(picture).__name__}; it must return an ImageGrid or a Chart")
