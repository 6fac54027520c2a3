"""Which message of a batch is it that the database refuses: ever smaller batches find out."""


class Bisection:
    """How many messages a batch may take.

    Half of what was refused, and half again, until one message is refused alone; twice as many
    after each batch that went through, until all that was taken back has.
    """

    def __init__(self, full: int) -> None:
        self._full = full
        self._limit = full
        self._left = 0

    @property
    def active(self) -> bool:
        """Are there messages left that were in a refused batch?"""
        return self._left > 0

    @property
    def limit(self) -> int:
        return self._limit if self._left else self._full

    def narrow(self, refused: int, again: int) -> None:
        """A batch of `refused` messages was refused; `again` messages are taken once more."""
        self._limit = max(1, refused // 2)
        self._left = again

    def gone(self) -> None:
        """One of those that were taken back needs no batch any more."""
        self._left = max(0, self._left - 1)

    def passed(self, count: int) -> None:
        """A batch of `count` messages is durable."""
        self._left = max(0, self._left - count)
        self._limit = min(self._full, self._limit * 2)
