"""Who asks, and whether that is too often: what a request passes before it is looked at."""

from ladle.placement.batch import Arrival
from ladle.placement.caller_limits import CallerLimits
from ladle.placement.identity import Identities, WrongIdentity
from ladle.placement.settings import PlacementSettings
from ladle_contracts.clock import Clock
from ladle_contracts.envelope import ContractViolation, Request, decode_request
from ladle_contracts.link import Message


class OverLimit(Exception):
    """The caller asks more often than LADLE_CALLER_REQUESTS_PER_S allows."""

    def __init__(self, user: str, wait_ms: int) -> None:
        who = f"user {user!r}" if user else "the callers whom the broker does not vouch for"
        super().__init__(f"too many requests of {who}: ask again in {wait_ms} ms")
        self.wait_ms = wait_ms


class Callers:
    """Of one queue of one process: requests are not counted with reads, nor here with elsewhere.

    came: how it came to the writer, which may fold it more than once; None on a standby.
    """

    def __init__(self, identities: Identities, limits: CallerLimits) -> None:
        self._identities = identities
        self._limits = limits

    @classmethod
    def of(cls, settings: PlacementSettings, clock: Clock) -> "Callers":
        """As the settings say."""
        limits = CallerLimits(
            clock, per_s=settings.caller_requests_per_s, burst=settings.caller_burst
        )
        return cls(settings.identities, limits)

    def read(self, message: Message, came: Arrival | None = None) -> tuple[Request, str]:
        """The request and its caller, who is not counted yet.

        Raises ContractViolation and WrongIdentity, or OverLimit where bad input comes too often:
        each is a record.
        """
        try:
            request = decode_request(message)
            return request, self._identities.caller(request.user, request.on_behalf_of)
        except (ContractViolation, WrongIdentity):
            self.count(message.user_id or "", came)
            raise

    def count(self, user: str, came: Arrival | None = None) -> None:
        """One request more; raises OverLimit where it is too many, which counts as none."""
        wait_ms = self._wait_ms(user, came)
        if wait_ms:
            raise OverLimit(user, wait_ms)

    def may_ask(self, message: Message, came: Arrival | None = None) -> bool:
        """Count a request that nobody can be answered, of whoever the broker vouches for."""
        return not self._wait_ms(message.user_id or "", came)

    def _wait_ms(self, user: str, came: Arrival | None) -> int:
        if came is None:
            return self._limits.wait_ms(user)
        if came.counted:
            return 0
        wait_ms = self._limits.wait_ms(user, came.arrived_ms)
        came.counted = not wait_ms
        return wait_ms
