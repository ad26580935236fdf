"""Runs the benchmarks, all or those named, and writes a table and a plot of each to results/."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import backfill, commands, copier, stalls, upgrades
from benchmarks.project import running_project

BENCHMARKS = {
    "backfill": backfill.run,
    "commands": commands.run,
    "copier": copier.run,
    "stalls": stalls.run,
    "upgrades": upgrades.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="just bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="small sizes, one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(__file__).with_name("results"),
        help="the folder of the results",
    )
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    options.output.mkdir(exist_ok=True)
    for name in options.names or BENCHMARKS:
        with running_project() as project:
            rounds = 1 if options.quick else options.rounds
            text = BENCHMARKS[name](project, options.output, options.quick, rounds)
        (options.output / f"{name}.md").write_text(text, encoding="utf-8")
        print(text)


if __name__ == "__main__":
    main()
