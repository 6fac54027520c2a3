"""The placement service: one writer a cell, which folds, journals and then answers."""
