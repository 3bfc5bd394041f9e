import base64
import io
import subprocess
import sys
import types

import ml_dtypes
import numpy as np
import pytest
from PIL import Image

from fixtures.sprites import sprite
from grader.kit import Chart, ImageGrid, error_images, to_images
from grader.pictures import MAX_POINTS, NOT_FINITE, to_record
from grader.reports.chart import HEIGHT, LEFT, WIDTH, layout
from grader.results import Picture


def grid(rows, columns=("a",)):
    return ImageGrid(title="t", caption="c.", alt="x", columns=list(columns), rows=rows)


def chart(points, role="yours", **fields):
    values = {"title": "t", "caption": "c", "alt": "x", "x_label": "t", "y_label": "y"}
    series = [("reference", "reference", [(0, 1.0), (9, 2.0)]), ("yours", role, points)]
    return Chart(**(values | {"series": series} | fields))


def test_numpy_and_pillow_are_loaded_late():
    code = "import sys, grader.pictures, grader.reports.html; print({'numpy', 'PIL'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_to_images_maps_the_range():
    values = np.array([-1.0, 0.0, 1.0, -7.0, 7.0]).reshape(1, 1, 1, 5)
    (image,) = to_images(values)
    assert image.dtype == np.uint8 and image.shape == (1, 5, 3)
    assert image[0, :, 0].tolist() == [0, 128, 255, 0, 255]


def test_to_images_takes_answers_and_half_precision():
    picture = sprite("circle", "red")[None]
    answer = types.SimpleNamespace(array=picture.astype(ml_dtypes.bfloat16))
    (half,), (full,) = to_images(answer), to_images(picture)
    assert np.abs(half.astype(int) - full).max() <= 1


def test_to_images_takes_pictures_that_lie_channels_last_in_memory():
    # What a picture file's array is after its channels were moved to the front.
    values = np.linspace(-1, 1, 2 * 4 * 5 * 3).reshape(2, 4, 5, 3).transpose(0, 3, 1, 2)
    assert np.array_equal(to_images(values), to_images(values.copy(order="C")))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_gets_its_own_colour(bad):
    values = np.zeros((1, 3, 2, 2))
    values[0, 1, 0, 0] = bad
    (image,) = to_images(values)
    assert tuple(image[0, 0]) == NOT_FINITE and tuple(image[1, 1]) == (128, 128, 128)
    (error,) = error_images(values, np.zeros((1, 3, 2, 2)), 1.0)
    assert tuple(error[0, 0]) == NOT_FINITE and tuple(error[1, 1]) == (0, 0, 0)
    (same,) = error_images(values, values, 1.0)
    assert (same == 0).all()
    assert "not finite" in to_record("add_noise", grid([("yours", [image])])).caption


def test_the_error_map_is_fixed_and_grows_lighter():
    steps = np.linspace(0, 2, 50).reshape(1, 1, 1, 50)
    (image,) = error_images(steps, np.zeros_like(steps), 2.0)
    lightness = image.astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness[0]) > 0).all() and tuple(image[0, 0]) == (0, 0, 0)
    (beyond,) = error_images(steps * 10, np.zeros_like(steps), 2.0)
    assert tuple(beyond[0, -1]) == tuple(image[0, -1])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: to_images(np.zeros((3, 8, 8))), r"\(N, C, H, W\), got \(3, 8, 8\)"),
        (lambda: to_images(np.zeros((1, 4, 8, 8))), "1 or 3 channels, got 4"),
        (lambda: to_images(np.zeros((0, 3, 8, 8))), "got"),
        (lambda: to_images(np.zeros((1, 3, 8, 8), dtype=complex)), "real numbers"),
        (lambda: error_images(np.zeros((1, 3, 8, 8)), np.zeros((1, 3, 8, 9)), 1.0), "one shape"),
        (lambda: error_images(np.zeros((1, 3, 8, 8)), np.zeros((1, 3, 8, 8)), 0.0), "scale above 0"),
        (lambda: to_record("t", grid([])), "no images"),
        (lambda: to_record("t", grid([("yours", [])])), "0 images for 1 columns"),
        (lambda: to_record("t", grid([("yours", [np.zeros((8, 8, 3))])])), "uint8"),
        (lambda: to_record("t", grid([("yours", [np.zeros((999, 8, 3), np.uint8)])])), "128 is the most"),
        (lambda: to_record("t", chart([], role="mine")), "must be one of yours"),
        (lambda: to_record("t", chart([], limits=[("l", float("nan"))])), "cannot be drawn"),
        (lambda: to_record("t", "a plot"), "must return an ImageGrid or a Chart"),
    ],
)
def test_refusals_are_sentences(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_pngs_keep_size_and_pixels():
    (image,) = to_images(sprite("cross", "blue")[None])
    record = to_record("add_noise", grid([("yours", [image])]))
    ((label, (png,)),) = record.rows
    assert label == "yours"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(png)))), image)


def test_charts_survive_anything_and_stay_valid_json():
    points = [(0, float("nan")), (1, float("inf")), (2, -1.0), (3, 1e300), (4, 0.5)]
    for log_y in (False, True):
        record = to_record("t", chart(points, log_y=log_y))
        assert "2 not finite" in record.series[1].label
        assert ("1 not above 0" in record.series[1].label) is log_y
        assert Picture.model_validate_json(record.model_dump_json()) == record
        drawn = layout(record)
        assert "leaves the frame" in drawn.lines[1].leaves
        assert len(drawn.y_ticks) >= 2
        numbers = [float(n) for line in drawn.lines for pair in line.path.split() for n in pair.split(",")]
        assert all(abs(n) < 5 * (WIDTH + HEIGHT) for n in numbers)


def test_a_step_has_no_half_and_a_decade_few_letters():
    points = [(float(x), 10.0 ** (x - 4)) for x in range(14)]
    drawn = layout(to_record("t", chart(points, series=[("reference", "reference", points)], log_y=True)))
    assert [tick.label for tick in drawn.x_ticks] == ["0", "5", "10"]  # every 2.5 would fit
    assert [tick.label for tick in drawn.y_ticks] == ["1e−4", "0.1", "100", "1e5", "1e8"]


def test_the_axis_makes_room_for_long_labels():
    def left(*values):
        return layout(to_record("t", chart(points := list(enumerate(values)), series=[("y", "yours", points)]))).left

    assert left(0.0, 1.0) == left(0.0, 400.0) == LEFT
    assert left(-1.25e-9, 1.25e-9) == 8 + 13 * len("−1e−9")


def test_a_path_that_runs_away_leaves_the_frame_to_the_reference():
    near, far = [(0.0, 0.0), (1.0, 1.0)], [(0.0, 0.0), (1000.0, 0.5)]
    series = [("reference", "reference", near), ("yours", "yours", far)]
    drawn = layout(to_record("t", chart(near, series=series)))
    begin, end = (float(pair.split(",")[0]) for pair in drawn.lines[0].path.split())
    assert end - begin > 0.15 * WIDTH
    assert float(drawn.lines[1].path.split()[1].split(",")[0]) > WIDTH


@pytest.mark.parametrize("y", [0.0, 1.0, -3.0, 1e-9, 7e12])
@pytest.mark.parametrize("log_y", [False, True])
def test_constant_and_single_points_can_be_drawn(y, log_y):
    for points in ([(0, y), (5, y)], [(3, y)]):
        drawn = layout(to_record("t", chart(points, series=[("yours", "yours", points)], log_y=log_y)))
        assert drawn.empty is (log_y and y <= 0)
        assert drawn.empty or drawn.y_ticks


def test_a_chart_without_a_finite_value_is_said_to_be_empty():
    assert layout(to_record("t", chart([], series=[("yours", "yours", [(0, float("nan"))])]))).empty


def test_long_series_are_thinned_and_keep_their_ends():
    points = [(i, i / 7) for i in range(5000)]
    kept = to_record("t", chart(points)).series[1].points
    assert len(kept) == MAX_POINTS and kept[0][0] == 0 and kept[-1][0] == 4999


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("role", ["yours", "reference"])
@pytest.mark.parametrize("values", [[1.7e308, -1.7e308], [1.7e308] * 2, [5e-324, 1.7e308], [-1.7e308, 0.0]])
def test_a_chart_of_the_largest_floats_is_drawn(values, role, log):
    if log:
        values = [abs(value) or 1.0 for value in values]
    series = [{"label": role, "role": role, "points": list(enumerate(values))}]
    placed = layout(Picture(task="t", title="t", caption="c", alt="x", series=series, log_y=log))
    ((first, second),) = [line.path.split() for line in placed.lines]
    assert all(abs(float(part)) < 5000 for point in (first, second) for part in point.split(","))
    assert all(np.isfinite(tick.at) for tick in [*placed.x_ticks, *placed.y_ticks])


def test_a_chart_that_cannot_be_drawn_costs_itself(monkeypatch):
    from grader.reports import html

    def broken(_):
        raise OverflowError("too large")

    monkeypatch.setattr(html, "layout", broken)
    series = [{"label": "r", "role": "reference", "points": [(0, 1.0)]}]
    assert html._chart(Picture(task="t", title="t", caption="c", alt="x", series=series)) is None
