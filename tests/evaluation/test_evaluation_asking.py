"""Asking back, measured: what is chosen, what is summed, and the command from end to end."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from edge_client.server.client import FIRST_QUALITY
from evaluation.__main__ import main
from evaluation.commands.service.ask_latency import Measured, OverLine, Timed, _row
from evaluation.judges.accuracy import Condition
from evaluation.judges.accuracy import Measured as Accuracies
from evaluation.judges.asking import Plan, choose, framing, framing_of_enhancement, sums_of
from evaluation.judges.families import COLUMNS
from evaluation.machine.line import Line
from evaluation.machine.relay import counting_relay
from evaluation.report.records import Fields
from evaluation.stats.curves import Curve, rate_at
from shared.bundle import Bundle

CHEAP, FINE = Plan(0.0, 4, 4.0), Plan(1.0, 4, 4.0)


def value(size: int, right: list[int], sure: list[float], second: dict[str, list[float]]) -> Fields:
    return {
        **{"bytes": size, "right": right, "sure": sure, "second": second},
        "families": ["count", "scene", "unknown"][: len(right)],
        "prompts": [10] * len(right),
    }


def test_what_is_sent_again_counts_and_decides() -> None:
    values = [value(200, [0, 1, 0], [0.5, 0.9, 0.1], {"0": [60, 1, 0.8], "2": [50, 1, 0.9]})]
    ones = np.ones((1, 1))
    never, unsure = (sums_of(values, threshold).means(ones) for threshold in (0.0, 0.8))
    assert [float(x[0]) for x in never[:2]] == [0.5, 200.0]  # no picture answers the unknown
    assert [float(x[0]) for x in unsure[:2]] == [1.0, 230.0]
    assert float(unsure[3][0]) == 0.5
    around = framing(True) + 10 + framing_of_enhancement() / 2
    assert float(unsure[2][0]) == pytest.approx(230 + around)
    assert float(sums_of(values, 0.8, "count").means(ones)[1][0]) == 260


def test_headers_are_those_that_travel() -> None:
    """As `python -m evaluation wire` counted them: 143 bytes."""
    assert framing(False) == 143
    assert framing(True) == 143 + len("?ask_back=1")
    assert framing_of_enhancement() < 160


def test_the_cheapest_that_reaches_the_aim_is_chosen() -> None:
    again = {"0": [100, 1, 0.8]}
    values = {
        CHEAP: [value(200, [0, 1], [0.5, 0.99], again)],
        FINE: [value(300, [1, 1], [0.5, 0.99], again)],
    }
    assert choose(values, 0.5) == (CHEAP, 0.0)
    assert choose(values, 0.9) == (FINE, 0.0)  # a second request costs more than 100 bytes
    del values[FINE]
    plan, threshold = choose(values, 0.9)
    assert plan == CHEAP
    assert threshold > 0.5


def test_bytes_wait_for_those_before_and_then_for_the_way() -> None:
    line = Line(rate=8000.0, delay=0.3)
    assert line.arrival(500, 10.0) == pytest.approx(10.8)
    assert line.arrival(100, 10.1) == pytest.approx(10.9)  # behind the first, on the same line
    assert line.arrival(100, 20.0) == pytest.approx(20.4)
    for wrong in ((0.0, 0.1), (1.0, -0.1)):
        with pytest.raises(ValueError, match="no line has"):
            Line(*wrong)


def test_a_relay_over_lines_passes_everything_in_its_order() -> None:
    sent = bytes(range(256)) * 2000
    fast = Line(rate=8e12, delay=0.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with (
            counting_relay(url, up=fast, down=fast) as relay,
            ThreadPoolExecutor(1) as pool,
            socket.create_connection(("127.0.0.1", int(relay.url.rpartition(":")[2]))) as client,
        ):
            peer = server.accept()[0]
            with peer:
                pool.submit(client.sendall, sent)
                got = b""
                while len(got) < len(sent):
                    got += peer.recv(1 << 16)
                peer.sendall(b"done")
            assert client.recv(16) == b"done"
    assert got == sent
    assert (relay.up, relay.down) == (len(sent), 4)


def timed(ms: float, up: float, down: float, rounds: int = 1) -> Timed:
    return Timed(*(np.array([each, each]) for each in (ms, up, down, rounds)))


def test_a_second_round_pays_where_bytes_are_slow() -> None:
    """Half of the questions are asked about again: 100 bytes, a way and 300 ms, all is right."""
    values = [value(200, [0, 1], [0.5, 0.99], {"0": [60, 1, 0.8]})] * 2
    alone = Accuracies(np.full((2, len(COLUMNS)), 2.0), {})
    for quality, right in ((FIRST_QUALITY, 0.5), (8.0, 0.75), (9.0, 1.0)):
        condition = Condition("full", quality)
        alone.sizes[condition] = np.full(2, 100.0)
        alone.right[condition] = np.full((2, len(COLUMNS)), 2 * right)
    # At 8 kbit/s a byte takes a millisecond; 550 ms are left besides, and 850 in two rounds.
    ones = {FIRST_QUALITY: timed(1000, 200, 50), 8.0: timed(9000, 280, 50)}
    ones[9.0] = timed(9000, 400, 50)
    lined = OverLine(8.0, 0.2, ones, timed(1600, 240, 110, rounds=2))
    busy = OverLine(8.0, 0.2, ones, timed(7000, 240, 110, rounds=2))
    measured = Measured.of([lined, busy])
    assert (lined.again, measured.first, measured.again) == ((40, 60), 550, 300)
    assert measured.one_stream(lined, FIRST_QUALITY) == 1000
    assert measured.second(lined) == 600
    row = _row(measured, lined, values, alone, 0.8)
    assert row[:4] == ["8 kbit/s, 200 ms", "0.80", "1.0000", "1.50"]
    assert row[4:9] == ["1000 ms", "600 ms", "1300 ms", "1200 ms", "+100 ms"]
    assert row[9:] == ["180, -30", "5 kbit/s"]  # 150 bytes in half of 500 ms
    assert _row(measured, lined, values, alone, 0.0)[10] == "never"


def test_the_rate_at_a_quality_lies_on_the_rising_curve() -> None:
    curve = Curve(np.array([100.0, 200.0, 400.0]), np.array([0.8, 0.7, 0.9]))
    assert rate_at(curve, 0.75) == pytest.approx(100)
    assert rate_at(curve, 0.9) == pytest.approx(400)
    assert np.isnan(rate_at(curve, 0.95))


def test_the_command(
    continuing_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "docs" / "results.md"
    words = ["--pictures", "2", "--validation", "1", "--first", "0", "--qualities", "0", "3"]
    words += ["--bundle", str(continuing_bundle.root), "--threads", "1"]
    more = ["--report", str(page), "--results", str(tmp_path / "runs")]
    monkeypatch.setattr("evaluation.commands.models.ask_back.MATCHED_ON", 1)
    monkeypatch.setattr("sys.argv", ["evaluation", "ask_back", *words, *more])
    main()
    written = page.read_text()
    assert "| aim | plan |" in written
    assert "| count |" in written
    assert (tmp_path / "docs" / "img" / "ask_back.png").stat().st_size > 0
    main()
    assert page.read_text() == written
