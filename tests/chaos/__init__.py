"""Tests of the simulation: what it does, and what it finds."""
