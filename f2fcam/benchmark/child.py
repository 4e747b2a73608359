"""A measurement in a process of its own: memory, cores and thread pools are nobody else's.

`python -m f2fcam.benchmark.child ANSWER.json` reads `{"job", "values", "cores"}` from its standard input.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from f2fcam.errors import F2FError

LONGEST_S = 1800.0
SHOWN_LINES = 3


class Run(Protocol):
    """Does a job of `jobs.JOBS`; `cores` are those it may use, None for all."""

    def __call__(self, job: str, values: dict[str, Any], cores: list[int] | None = None) -> dict[str, Any]: ...


def run_child(job: str, values: dict[str, Any], cores: list[int] | None = None) -> dict[str, Any]:
    """A job in a fresh process, which sees nothing of this one's but the environment."""
    threads = {name: os.environ.get(name, "1") for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    with tempfile.TemporaryDirectory(prefix="f2fcam-bench-") as folder:
        answer = Path(folder) / "answer.json"
        try:
            done = subprocess.run(
                [sys.executable, "-m", "f2fcam.benchmark.child", str(answer)],
                input=json.dumps({"job": job, "values": values, "cores": cores}),
                capture_output=True, text=True, errors="replace", timeout=LONGEST_S, check=False,
                env={**os.environ, **threads},
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise F2FError(f"The measurement `{job}` did not end.", hint="Give a shorter --source.") from error
        if done.returncode != 0 or not answer.is_file():
            last = " ".join(done.stderr.strip().splitlines()[-SHOWN_LINES:])
            raise F2FError(f"The measurement `{job}` failed: {last}", hint="Run `f2fcam doctor`.")
        return json.loads(answer.read_text(encoding="utf-8"))


@contextmanager
def busy(core: int) -> Iterator[None]:
    """Another program that takes all of one core that it can get."""
    pin = f"import os; os.sched_setaffinity(0, {{{core}}})"
    other = subprocess.Popen([sys.executable, "-c", f"{pin}\nwhile os.getppid() == {os.getpid()}: sum(range(10**6))"])
    try:
        yield
    finally:
        other.kill()
        other.wait()


def main() -> int:
    """Be the child."""
    asked = json.load(sys.stdin)
    if asked["cores"]:
        os.sched_setaffinity(0, set(asked["cores"]))  # before any library counts them
    from f2fcam.benchmark import jobs

    result = jobs.do(asked["job"], asked["values"])
    Path(sys.argv[1]).write_text(json.dumps(result), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
