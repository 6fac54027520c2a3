"""Load as bars that a terminal can show and that read without colour."""

from rich.text import Text

_EIGHTHS = " ▏▎▍▌▋▊▉█"
BUSY_PERMILLE, FULL_PERMILLE = 600, 850


def load_style(permille: int, *, calm: bool = True) -> str:
    """Blue, yellow, red by load; colour-blind readers have the bar's length and the number."""
    if not calm:
        return "bright_black"
    if permille >= FULL_PERMILLE:
        return "red"
    return "yellow" if permille >= BUSY_PERMILLE else "blue"


def bar(permille: int, width: int, *, hatched: bool = False, grey: bool = False) -> Text:
    """A bar of `width` cells; hatched for draining, grey for what is not heard of."""
    clipped = max(0, min(1000, permille))
    eighths = clipped * width * 8 // 1000
    if clipped and not eighths:
        eighths = 1
    full, rest = divmod(eighths, 8)
    body = ("▒" if hatched else "█") * full
    if rest:
        body += "▒" if hatched else _EIGHTHS[rest]
    style = load_style(permille, calm=not grey)
    text = Text(body, style=style)
    text.append("·" * (width - len(body)), style="bright_black")
    return text


def permille_of(used: int, capacity: int) -> int:
    """used / capacity in permille, rounded up; a full permille where there is no capacity."""
    return -(-used * 1000 // capacity) if capacity else (1000 if used else 0)
