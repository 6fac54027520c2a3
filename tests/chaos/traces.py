"""Prints what some seeds came to; a program of its own, for each needs its own hash seed."""

import sys

from ladle.chaos.simulated.simulation import simulate
from ladle.commands.simulated_service import PROGRAMS


def main() -> None:
    for seed in map(int, sys.argv[1:]):
        outcome = simulate(seed, PROGRAMS)
        said = seed, outcome.simulated_ms, outcome.head, outcome.trace, outcome.violation
        sys.stdout.write(f"{said}\n")


if __name__ == "__main__":
    main()
