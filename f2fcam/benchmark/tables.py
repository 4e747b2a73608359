"""The benchmark's result as tables for a terminal."""

from __future__ import annotations

from typing import Any

from rich.table import Table


def tables(result: dict[str, Any]) -> list[Table]:
    """Stages of the chain per size, and kernels beside their yardsticks."""
    drawn = []
    for size, chain in result.get("chain", {}).items():
        table = Table("stage", "median ms", "p95 ms", title=f"{size}, one thread", box=None)
        whole = {"all": chain["serial_ms"], "all, processor time": chain["serial_cpu_ms"]}
        for name, one in {**chain["stages_ms"], **whole}.items():
            table.add_row(name, f"{one['p50']:.2f}", f"{one['p95']:.2f}")
        drawn.append(table)
    table = Table("kernel", "best ms", "yardstick ms", "ratio", title="Kernels", box=None)
    for name, ratio in result.get("ratios", {}).items():
        table.add_row(name, f"{result['kernels_ms'][name]:.3f}", f"{result['floors_ms'][name]:.3f}", f"{ratio:.2f}")
    return [*drawn, table] if table.row_count else drawn
