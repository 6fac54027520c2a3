"""The laboratory: benchmarks whose figures are ratios inside one run."""
