"""The words that the core keeps in its tables are those that the contract says on the wire."""

from typing import get_args

from ladle.core.words import Administration, Code, Liveness, Phase
from ladle_contracts import replies
from ladle_contracts.replies import ErrorCode


def test_codes() -> None:
    assert [code.value for code in ErrorCode] == [code.value for code in Code]


def test_states() -> None:
    assert get_args(replies.RoomState) == tuple(phase.value for phase in Phase)
    assert get_args(replies.Liveness) == tuple(liveness.value for liveness in Liveness)
    assert get_args(replies.Administration) == tuple(one.value for one in Administration)
