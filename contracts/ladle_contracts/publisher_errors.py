"""Why a publisher no longer says what it is told."""


class PublisherClosed(Exception):
    """The publisher is closed; what it had not sent is lost."""


class Superseded(Exception):
    """A newer life of this server speaks; going on would mix up two lives' rooms."""

    def __init__(self, incarnation: int, by: int) -> None:
        super().__init__(f"this life ({incarnation}) is superseded by {by}")
        self.incarnation = incarnation
        self.by = by


class BufferFull(Exception):
    """The broker is away and nothing may be left out: without `snapshot` no status replaces it."""
