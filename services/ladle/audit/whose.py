"""Which cell's journal a source holds: by its own records, and not by who looks at it."""

from ladle.audit.source import Source
from ladle.core.limits import Limits
from ladle.core.record import Kind, Record
from ladle.journal.chain import content_of


def cell_of(source: Source) -> str | None:
    """As the records say, where the first page has those that do; else as the source claims.

    None: a part of a journal, or an empty one, which do not tell. Raises SourceError.
    """
    for page in source.pages():
        for item in page:
            if isinstance(item, Record) and item.kind == Kind.SETTINGS:
                named = _named(item, page[0])
                if named is not None:
                    return named
        break
    claim = source.claim()
    return claim.origin.cell if claim.origin is not None else claim.cell


def _named(record: Record, first: object) -> str | None:
    """The first settings of a journal name its cell, unless it is at its default."""
    try:
        payload = content_of(record)["payload"]
        if "cell" in payload:
            return str(payload["cell"])
    except (ValueError, KeyError, TypeError):
        return None  # Erased, or no body of Ladle's: `verify` tells.
    is_whole = isinstance(first, Record) and first.offset == 1
    return Limits().cell if is_whole else None
