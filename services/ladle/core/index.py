"""Which workers may take a room: per region, buckets of servers by load."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ladle.core.view import View


class Index:
    """Derived from the view's rows."""

    def refresh(self, view: "View", server_id: str) -> None:
        """Take this server in anew; called when a row of it, its workers or rooms has changed."""
