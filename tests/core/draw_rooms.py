"""Draws docs/rooms.md anew from the room table: `python -m tests.core.draw_rooms`."""

import re

from ladle.core import diagram
from tests.core.test_room_table import DOCS

if __name__ == "__main__":
    text = DOCS.read_text()
    text = re.sub(
        r"```mermaid\n.*?```\n", f"```mermaid\n{diagram.mermaid()}```\n", text, flags=re.S
    )
    between = re.compile(r"<!-- table -->\n.*?<!-- end of table -->\n", re.S)
    table = f"<!-- table -->\n{diagram.markdown()}<!-- end of table -->\n"
    DOCS.write_text(between.sub(table, text))
