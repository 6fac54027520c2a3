"""Draws docs/rooms.md and docs/rooms.svg anew from the room table.

`python -m tests.core.draw_rooms`; the picture takes Graphviz (Debian's package `graphviz`).
"""

import re
import subprocess

from ladle.core import diagram
from tests.core.test_room_table import DOCS, PICTURE

if __name__ == "__main__":
    text = DOCS.read_text()
    between = re.compile(r"<!-- table -->\n.*?<!-- end of table -->\n", re.S)
    table = f"<!-- table -->\n{diagram.markdown()}<!-- end of table -->\n"
    DOCS.write_text(between.sub(table, text))
    drawn = subprocess.run(
        ["dot", "-Tsvg"], input=diagram.dot(), capture_output=True, text=True, check=True
    )
    PICTURE.write_text(drawn.stdout)
