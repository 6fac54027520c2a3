"""Audit: read a journal from anywhere, prove it, replay it, compare and tell."""
