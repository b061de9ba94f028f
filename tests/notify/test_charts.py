"""Charts, drawn by the process that draws them."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from detector import apart
from detector.errors import ChartError
from detector.notify.charts import MOST_SPANS, Chart, draw
from detector.notify.drawing import picture
from tests.builders import START
from tests.hostile import TEXT

if TYPE_CHECKING:
    from pathlib import Path

BEYOND = (0xD1, 0x42, 0x0F)
# The machine may be busy with all other tests.
PATIENCE = 100


def chart(*values: float, high: float | None = 9.0, marked: bool = True, **others: Any) -> Chart:
    """A value for each hour, the last one marked."""
    starts = tuple(START + timedelta(hours=number) for number in range(len(values)))
    band = {"low": (1.0,) * len(values), "high": (high,) * len(values)} if high is not None else {}
    end = starts[-1] + timedelta(hours=1)
    return Chart(
        title="connects of root on bastion-1, per hour",
        starts=starts,
        span_seconds=3600.0,
        values=values,
        marked=(starts[-1], end) if marked else None,
        mark="alert 12",
        band="the same hours before",
        **{**band, **others},
    )


def colours(png: bytes) -> dict[tuple[int, ...], int]:
    """How many pixels have each colour."""
    image = Image.open(io.BytesIO(png))
    found = image.convert("RGB").getcolors(1 << 24)
    assert found is not None
    counted: dict[tuple[int, ...], int] = {}
    for number, colour in found:
        assert isinstance(colour, tuple)
        counted[colour] = number
    return counted


def near(png: bytes, colour: tuple[int, int, int]) -> int:
    """How many pixels have about this colour."""
    return sum(
        number
        for seen, number in colours(png).items()
        if all(abs(one - other) < 12 for one, other in zip(seen, colour, strict=True))
    )


def test_a_chart_is_a_small_picture_with_a_light_ground() -> None:
    """It is wide enough for a phone of three pixels to one, light to send, and white behind."""
    png = draw(chart(*[3.0, 4.0, 5.0] * 16, 40.0), timeout_seconds=PATIENCE)
    image = Image.open(io.BytesIO(png))
    assert image.size == (1080, 660)
    assert len(png) < 30_000
    assert max(colours(png).items(), key=lambda each: each[1])[0] == (255, 255, 255)


def test_what_is_beyond_the_band_stands_out() -> None:
    """It has the colour of alarm, which nothing within the band has."""
    assert near(picture(chart(3.0, 4.0, 40.0)), BEYOND) > 1000
    assert near(picture(chart(3.0, 4.0, 5.0)), BEYOND) == 0


def test_without_a_band_what_is_marked_stands_out() -> None:
    """Where nothing is known to be normal, the moment itself is coloured; without a moment nothing is."""
    assert near(picture(chart(3.0, 4.0, 40.0, high=None)), BEYOND) > 1000
    assert near(picture(chart(3.0, 4.0, 40.0, high=None, marked=False)), BEYOND) == 0


def test_a_usual_hour_is_seen_beside_a_scan_of_all_ports() -> None:
    """With 65,535 connects in an hour, where three are usual, the three are more than a line on the ground."""
    scan = picture(chart(3.0, 3.0, 65535.0))
    assert near(scan, (0x5B, 0x7F, 0xA6)) > 1000
    assert near(scan, BEYOND) > 1000


@pytest.mark.parametrize(("number", "seconds"), [(1, 10.0), (MOST_SPANS, 10.0), (MOST_SPANS, 86_400.0)])
def test_any_number_and_length_of_spans_is_drawn(number: int, seconds: float) -> None:
    """From one span of ten seconds to years of days; also when there was nothing at all."""
    starts = tuple(START + timedelta(seconds=seconds * each) for each in range(number))
    nothing = Chart(title="nothing", starts=starts, span_seconds=seconds, values=(0.0,) * number)
    assert picture(nothing).startswith(b"\x89PNG")


@settings(max_examples=6, deadline=None)
@given(TEXT.map(lambda text: "".join(each if each.isprintable() else "?" for each in text)), st.floats(0, 1e12))
def test_no_text_is_taken_for_a_formula(text: str, value: float) -> None:
    """Whatever names say, and however much it was: there is a picture of the same size."""
    drawn = picture(replace(chart(1.0, value), title=f"$\\frac{{{text}", mark=f"${text}$", band=f"{text}$_"))
    assert Image.open(io.BytesIO(drawn)).size == (1080, 660)


def test_a_chart_that_does_not_fit_together_is_no_chart() -> None:
    """Values without spans, half a band, or more than a picture has room for: a fault of ours, at once."""
    with pytest.raises(ValueError, match="2 values in 1 spans"):
        replace(chart(1.0), values=(1.0, 2.0))
    with pytest.raises(ValueError, match="a band of 0 and 1"):
        replace(chart(1.0), low=())
    with pytest.raises(ValueError, match="401 spans"):
        chart(*[1.0] * (MOST_SPANS + 1))


def test_a_picture_is_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An incident that is told to several channels takes one process."""
    wanted = chart(1.0, 2.0, 77.0)
    first = draw(wanted, timeout_seconds=PATIENCE)
    monkeypatch.setattr(apart, "PYTHON", ("/nonexistent",))
    assert draw(chart(1.0, 2.0, 77.0), timeout_seconds=PATIENCE) is first


def test_a_process_that_cannot_be_started_is_a_fault_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No such program, a fault in it, and one that ends without a word are told apart, in one line."""
    wanted = chart(1.0, 2.0, 78.0)
    monkeypatch.setattr(apart, "PYTHON", (str(tmp_path / "gone"),))
    with pytest.raises(ChartError, match="no process to draw it: No such file"):
        draw(wanted)
    monkeypatch.setattr(apart, "PYTHON", (sys.executable, "-c", "raise OSError('disk\\x1b[2J full')"))
    with pytest.raises(ChartError, match=r"OSError: disk\\x1b\[2J full"):
        draw(wanted)
    monkeypatch.setattr(apart, "PYTHON", ("/bin/true",))
    with pytest.raises(ChartError, match="ended with 0, without a word"):
        draw(wanted)


def test_a_process_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """After the time it has it is gone, with the folder that it was given."""
    (tmp_path / "seen").touch()
    script = f"import os, time; open({str(tmp_path / 'seen')!r}, 'w').write(os.environ['HOME']); time.sleep(60)"
    monkeypatch.setattr(apart, "PYTHON", (sys.executable, "-c", script))
    with pytest.raises(ChartError, match="was not drawn within 1 s"):
        draw(chart(1.0, 2.0, 79.0), timeout_seconds=1)
    folder = (tmp_path / "seen").read_text()
    assert folder
    assert not os.path.exists(folder)  # noqa: PTH110 - a path as text


def test_memory_is_bounded() -> None:
    """What asks for more than a gigabyte gets a fault, and takes nothing from whoever shares the machine."""
    script = (
        "import detector.notify.drawing as d\n"
        "d.picture = lambda chart: bytes(2 << 30)\n"
        "d.main()\n"
    )  # fmt: skip
    import msgspec

    done = subprocess.run(
        [sys.executable, "-c", script], input=msgspec.json.encode(chart(1.0)), capture_output=True, check=False
    )
    assert done.returncode not in (0, -signal.SIGKILL)
    assert b"MemoryError" in done.stderr


def test_one_is_drawn_at_a_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Channels that ask together do not start as many processes at once."""
    script = (
        "import os, time, pathlib\n"
        f"lock = pathlib.Path({str(tmp_path / 'lock')!r})\n"
        "lock.touch(exist_ok=False)\n"
        "time.sleep(0.05)\n"
        "lock.unlink()\n"
        "os.write(1, b'\\x89PNG\\r\\n\\x1a\\n')\n"
    )
    monkeypatch.setattr(apart, "PYTHON", (sys.executable, "-c", script))
    faults: list[Exception] = []

    def ask(value: float) -> None:
        try:
            draw(chart(value), timeout_seconds=PATIENCE)
        except ChartError as fault:
            faults.append(fault)

    threads = [Thread(target=ask, args=(1000.0 + number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_the_detector_itself_does_not_load_matplotlib() -> None:
    """Asking for a chart costs the process that asks no memory for it."""
    script = (
        "import sys\n"
        "from detector.notify import charts\n"
        "from tests.notify.test_charts import chart\n"
        "before = set(sys.modules)\n"
        "charts.draw(chart(1.0, 2.0), timeout_seconds=100)\n"
        "assert 'matplotlib' not in set(sys.modules) - before, sorted(set(sys.modules) - before)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_times_are_told_in_utc() -> None:
    """The same moments in another zone give the same picture."""
    from zoneinfo import ZoneInfo

    there = ZoneInfo("Asia/Kolkata")
    wanted = chart(1.0, 5.0, 3.0)

    def moved(moment: datetime) -> datetime:
        return moment.astimezone(there)

    assert wanted.marked is not None
    first, last = wanted.marked
    elsewhere = replace(wanted, starts=tuple(map(moved, wanted.starts)), marked=(moved(first), moved(last)))
    assert picture(elsewhere) == picture(wanted)
