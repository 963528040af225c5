"""A grid of characters to draw on."""

from __future__ import annotations

from gpuwatch.cli.canvas import Canvas, painted


def drawn(canvas: Canvas) -> list[str]:
    return canvas.lines(False)


def test_a_curve_is_of_dots_eight_to_a_cell() -> None:
    """Two columns of four dots in one character."""
    canvas = Canvas(2, 1, False)

    canvas.curve([(0.0, 0.0), (1.0, 1.0)], "*", "curve")

    assert ["⡠⠊"] == drawn(canvas)


def test_a_curve_in_ascii_is_of_characters() -> None:
    """One to a cell."""
    canvas = Canvas(3, 3, True)

    canvas.curve([(0.0, 0.0), (1.0, 1.0)], "*", "curve")

    assert ["  *", " * ", "*  "] == drawn(canvas)


def test_dots_of_two_curves_join() -> None:
    """Neither hides the other."""
    canvas = Canvas(1, 1, False)

    canvas.curve([(0.0, 0.0), (1.0, 0.0)], "*", "curve")
    canvas.curve([(0.0, 1.0), (1.0, 1.0)], "*", "curve")

    assert ["⣉"] == drawn(canvas)


def test_a_curve_of_one_place_is_a_dot() -> None:
    """Not nothing."""
    canvas = Canvas(1, 1, False)

    canvas.curve([(0.0, 0.0)], "*", "curve")

    assert ["⡀"] == drawn(canvas)


def test_beyond_the_canvas_nothing_is_drawn() -> None:
    """A curve that leaves it does not run along its edge."""
    canvas = Canvas(4, 2, True)

    canvas.curve([(0.0, 0.0), (0.5, 9.0), (1.0, 9.0)], "*", "curve")
    canvas.fill(3, 1.5, 2.0, "#", "fan")

    assert all(line[1:] == "   " for line in drawn(canvas))


def test_an_area_has_at_least_one_cell() -> None:
    """However narrow it is."""
    canvas = Canvas(2, 2, True)

    canvas.band(0.0, 1.0, lambda _: (0.4, 0.4), "#", "fan")

    assert ["  ", "##"] == drawn(canvas)


def test_a_style_is_a_colour_for_as_long_as_it_lasts() -> None:
    """And blanks have none."""
    canvas = Canvas(4, 1, True)

    canvas.write(0, 1, "ab", "fan")

    assert [" \x1b[36mab\x1b[0m "] == canvas.lines(True)
    assert "  " == painted("  ", "fan", True)
