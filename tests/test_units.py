"""Numbers as people read and write them."""

import pytest

from lt_onnx.units import byte_count, counted, duration_text, percent_text, size_text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "2 kB"), (2e6, "2 MB"), (3.21e9, "3.2 GB")],
)
def test_sizes_are_read_in_the_unit_that_suits_them(count: float, text: str) -> None:
    assert size_text(count) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 layers"), (1, "1 layer"), (2, "2 layers"), (1234, "1,234 layers")]
)
def test_one_is_not_spoken_of_as_many(count: int, text: str) -> None:
    assert counted(count, "layer") == text


def test_shares_are_told_in_hundredths() -> None:
    assert [percent_text(share) for share in (0, 0.98039, 1)] == ["0.00 %", "98.04 %", "100.00 %"]


@pytest.mark.parametrize(
    ("text", "count"),
    [("800M", 800_000_000), ("8G", 8 * 10**9), (" 1.5k ", 1500), ("2gb", 2 * 10**9), ("7", 7)],
)
def test_bytes_are_written_with_a_unit_or_without(text: str, count: int) -> None:
    assert byte_count(text) == count


@pytest.mark.parametrize("text", ["", "lots", "-1", "0", "nan", "inf", "1e30", "8GG", "M8", "1 2"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (the caller words it)
        byte_count(text)


def test_durations_are_told_in_seconds_or_minutes() -> None:
    assert (duration_text(119.4), duration_text(180)) == ("119 s", "3 min")
