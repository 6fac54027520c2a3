"""The cable between one machine and the broker: it outlives the processes of the machine."""

from ladle.chaos.simulated.loop import SimulatedLoop


class Cable:
    """Cut until a moment; whatever life of the process wants to connect meanwhile cannot."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop
        self._cut_until_us = 0

    @property
    def is_cut(self) -> bool:
        return self._loop.now_us < self._cut_until_us

    def cut(self, for_ms: int) -> None:
        """Cut it, or leave it cut for longer."""
        self._cut_until_us = max(self._cut_until_us, self._loop.now_us + for_ms * 1_000)

    def mend(self) -> None:
        self._cut_until_us = 0
