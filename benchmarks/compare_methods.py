"""Train with each method at the same budget, on the same data and base, and print them side by side as a Markdown table.

``make compare-methods``. Results are kept in ``reports/methods/``; what is up to date comes from DVC's cache.
"""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

METHODS = ("echodistill", "distill", "sft", "grpo")
KEPT = Path("reports/methods")


def run(method: str) -> dict[str, dict[str, float]]:
    """Bring the pipeline up to date for one method and read its figures."""
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", "echodistill.cli", "run", "-S", f"train.method={method}"], check=True)
    print(f"{method}: {time.monotonic() - started:.0f} s", flush=True)
    KEPT.mkdir(parents=True, exist_ok=True)
    shutil.copy("reports/metrics.json", KEPT / f"{method}.json")
    figures: dict[str, dict[str, float]] = json.loads(Path("reports/metrics.json").read_text(encoding="utf-8"))
    return figures


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


def gain(interval: dict[str, float]) -> str:
    return f"{100 * interval['value']:+.1f} [{100 * interval['low']:+.1f}, {100 * interval['high']:+.1f}]"


def main() -> None:
    figures = {method: run(method) for method in METHODS}
    base = figures[METHODS[0]]["base"]
    print("| system | clean Acc | Acc | Noisy | GSR | Acc gain | GSR gain |")
    print("|---|---|---|---|---|---|---|")
    print(f"| base | {percent(base['clean_acc'])} | " + " | ".join(percent(base[m]) for m in ("acc", "noisy", "gsr")) + " | | |")
    for method, found in figures.items():
        own, difference = found["student"], found["difference"]
        cells = [percent(own[metric]) for metric in ("clean_acc", "acc", "noisy", "gsr")]
        gains = [gain(difference[metric]) for metric in ("acc", "gsr")]  # type: ignore[arg-type]
        print(f"| {method} | " + " | ".join([*cells, *gains]) + " |")


if __name__ == "__main__":
    main()
