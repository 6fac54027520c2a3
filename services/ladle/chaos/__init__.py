"""Faults on purpose: the real code among faults, and the laws that must hold."""
