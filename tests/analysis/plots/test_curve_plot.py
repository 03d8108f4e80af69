from __future__ import annotations

from analysis.plots.curve_plot import place_labels


def test_labels_of_points_that_lie_close_stand_at_different_sides():
    x = [100.0, 1000.0, 1010.0, 1020.0, 500.0]
    y = [50.0, 20.0, 20.1, 19.9, 49.0]
    sides = ["top right", "top left", "middle left", "bottom left", "top center"]
    assert place_labels(list("abcde"), x, y) == list(zip("abcde", sides, strict=True))


def test_more_labels_than_sides_are_stacked():
    found = place_labels(list("abcde"), [5.0] * 5, [3.0] * 5)
    assert [text for text, _ in found] == ["a", "b", "c", "d<br> ", "e<br> <br> "]
    assert [side for _, side in found] == ["top left", "middle left", "bottom left", "top left", "top left"]


def test_no_label_stands_on_the_numbers_of_the_axis():
    assert place_labels(["a", "b", "c"], [1.0, 9.0, 9.0], [50.0, 1.0, 1.0])[1:] == [
        ("b", "top left"), ("c", "middle left"),
    ]  # fmt: skip
