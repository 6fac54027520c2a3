"""A reader who has seen an offset is answered from a view at least as new, or not at all."""

import asyncio

import pytest

from ladle_contracts.errors import Unavailable, UnknownRoom
from tests.fixtures.service import Running

pytestmark = pytest.mark.broker


async def test_what_the_view_has_passed_is_answered(service: Running) -> None:
    async with service.client() as client:
        offset = (await client.view()).journal_offset
        assert (await client.view(min_offset=offset)).offset >= offset
        with pytest.raises(UnknownRoom):
            await client.lookup("standup", min_offset=offset)
        assert (await client.history(min_offset=offset)).records


async def test_what_nobody_has_written_yet_is_unavailable(service: Running) -> None:
    """From the view or from the journal: never an older answer, and worth another try."""
    async with service.client(attempts_max=1) as client:
        ahead = (await client.view()).journal_offset + 1_000
        asked = [
            client.lookup("standup", min_offset=ahead),
            client.view(min_offset=ahead),
            client.rooms(min_offset=ahead),
            client.view(at_offset=1, min_offset=ahead),
            client.decisions(min_offset=ahead),
            client.history(min_offset=ahead),
            client.explain("standup", min_offset=ahead),
        ]
        for answer in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(answer, Unavailable)
            assert answer.retryable
            assert answer.retry_after_ms
            assert answer.details["offset"] < ahead
