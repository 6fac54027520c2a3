"""Text from outside, made fit for any database and any canonical JSON."""


def printable(text: str) -> str:
    """No NUL, no lone surrogate; what cannot be kept becomes a replacement mark."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "\ufffd")
