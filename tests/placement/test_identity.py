"""Who may speak for whom: broker-checked users, mappings, and proxies with `onbehalfof`."""

import pytest
from pydantic import ValidationError

from ladle.placement.identity import Identities, WrongIdentity
from ladle.placement.settings import PlacementSettings

RULES = Identities.parse(
    required=True,
    proxy_users="gateway, other-gateway",
    server_users="host-7=sfu-1, host-7=sfu-2,agent=sfu-3",
)


@pytest.mark.parametrize(
    ("user", "on_behalf_of", "server_id"),
    [
        ("sfu-1", None, "sfu-1"),  # the same name
        ("host-7", None, "sfu-1"),  # a mapping
        ("host-7", None, "sfu-2"),  # one user may have several servers
        ("gateway", "sfu-1", "sfu-1"),  # a proxy for the server itself
        ("other-gateway", "agent", "sfu-3"),  # a proxy for whom the mapping names
        ("gateway", None, "sfu-1"),  # a proxy in its own name: it gives dead letters back
        ("sfu-1", "sfu-2", "sfu-1"),  # from anybody else the name is not read
    ],
)
def test_who_may(user: str, on_behalf_of: str | None, server_id: str) -> None:
    RULES.check_server(user, on_behalf_of, server_id)


@pytest.mark.parametrize(
    ("user", "on_behalf_of", "server_id"),
    [
        (None, None, "sfu-1"),  # nobody vouches
        (None, "sfu-1", "sfu-1"),
        ("sfu-2", None, "sfu-1"),
        ("sfu-2", "sfu-1", "sfu-1"),  # no proxy
        ("agent", None, "sfu-1"),  # mapped to another
        ("gateway", "sfu-2", "sfu-1"),  # the proxy's tenant does not own it
        ("gateway", "gateway", "sfu-1"),  # nor does the proxy, once it names itself
    ],
)
def test_who_may_not(user: str | None, on_behalf_of: str | None, server_id: str) -> None:
    with pytest.raises(WrongIdentity, match=server_id):
        RULES.check_server(user, on_behalf_of, server_id)


def test_without_the_setting_everybody_may() -> None:
    Identities().check_server(None, None, "sfu-1")


@pytest.mark.parametrize(
    ("user", "on_behalf_of", "speaker"),
    [
        ("gateway", "tenant", "tenant"),
        ("gateway", None, "gateway"),
        ("backend", "tenant", "backend"),
        (None, "tenant", ""),
    ],
)
def test_a_proxys_tenant_replaces_it_in_request_keys(
    user: str | None, on_behalf_of: str | None, speaker: str
) -> None:
    assert RULES.speaker(user, on_behalf_of) == speaker


@pytest.mark.parametrize("pair", ["foo", "=sfu-1", "foo=", "a=b,foo"])
def test_what_is_no_pair_ends_the_service_before_it_starts(pair: str) -> None:
    """Not once it has the lease: a standby would fall over in the moment it is needed."""
    with pytest.raises(ValidationError, match="is not user=server_id"):
        PlacementSettings(server_users=pair)


def test_a_time_that_no_database_holds_is_refused() -> None:
    with pytest.raises(ValidationError, match="room_age_ms_max"):
        PlacementSettings(room_age_ms_max=10**20)
