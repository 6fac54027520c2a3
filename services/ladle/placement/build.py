"""Puts the real parts together: which link the settings ask for."""

from ladle.broker.fast import FastLink
from ladle.broker.plain import FastStreamLink
from ladle.placement.settings import PlacementSettings
from ladle_contracts.link import Link


def make_link(settings: PlacementSettings) -> Link:
    """A link that is not open yet; reconnects by itself once it has been."""
    kind = FastStreamLink if settings.link == "plain" else FastLink
    return kind(settings.url, name="ladle placement", ssl_context=settings.ssl_context())
