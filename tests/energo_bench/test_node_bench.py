"""`energoctl bench node`: a small street for two seconds, and what its figures must say of each other."""

from __future__ import annotations

import json
import pstats
from pathlib import Path

from click.testing import CliRunner

from energo_bench import node
from energoctl.main import energoctl


def test_a_small_street_takes_all_that_is_offered(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    found = node.measure(
        2, 20, 2, interval_ms=50, tell=lambda done, of: told.append((done, of)), profile=tmp_path / "p"
    )
    assert (found["offered"], found["finalized"], found["refused"], found["in_time"]) == (40, 40, {}, True)
    assert found["finality_ms"]["p50"] <= found["finality_ms"]["p95"] <= found["finality_ms"]["max"]
    assert 0 < found["blocks"] <= 60
    assert found["rss_kib"] > found["wallet_rss_kib"] > 10_000
    assert found["cpu_s_node"] > 0
    if found["bytes_written_per_block"]:  # 0 where the folder for temporary files is memory
        assert found["bytes_per_day_25_homes"] == found["bytes_written_per_block"] * node.DAY_BLOCKS
        assert found["bytes_written_per_transaction"] > 200
    assert told
    profiled = pstats.Stats(str(tmp_path / "p")).get_stats_profile()
    assert "receive" in profiled.func_profiles


def test_an_idle_street_is_offered_nothing_and_hardly_works() -> None:
    result = CliRunner().invoke(energoctl, ["--json", "bench", "node", "--nodes", "2", "--rate", "0", "--seconds", "1"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.output.splitlines()[-1])
    assert (found["offered"], found["finalized"]) == (0, 0)
    assert found["blocks"] <= 2  # of a young street, whose first slot has just begun
    assert found["core_share_node"] < 0.2
    assert found["rss_kib"] < 60 * 1024, "a library that a node does not need?"


def test_percentiles_of_nothing_are_none() -> None:
    assert node.percentiles([]) == {"p50": None, "p95": None, "max": None}
    assert node.percentiles([3.0, 1.0, 2.0]) == {"p50": 2.0, "p95": 3.0, "max": 3.0}
