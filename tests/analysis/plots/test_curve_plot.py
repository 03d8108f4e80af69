from __future__ import annotations

from analysis.plots.curve_plot import label_sides


def test_labels_of_points_that_lie_close_stand_at_different_sides():
    x = [100.0, 1000.0, 1010.0, 1020.0, 500.0]
    y = [50.0, 20.0, 20.1, 19.9, 49.0]
    assert label_sides(x, y) == ["top center", "top center", "bottom center", "middle right", "top center"]
    assert label_sides([5.0, 5.0], [3.0, 3.0]) == ["top center", "bottom center"]
