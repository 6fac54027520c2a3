"""The contract as one page without scripts: its operations, and the document itself."""

import re
from html import escape
from typing import Any

from ladle_contracts.asyncapi import document, document_yaml

_CODE = re.compile("`([^`]+)`")

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}"
    "td,th{border-bottom:1px solid #8886;padding:.4rem;text-align:left;vertical-align:top}"
    "code,pre{background:#8882;border-radius:.2rem}code{padding:0 .2rem}"
    "pre{overflow:auto;padding:1rem}"
    "@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}a{color:#8bf}}"
)


def contract_page() -> str:
    """HTML: who sends what on which exchange with which key, then asyncapi.yaml in full."""
    doc = document()
    rows = "".join(
        _row(name, operation, _channel(doc, operation))
        for name, operation in doc["operations"].items()
    )
    info = doc["info"]
    title = f"{escape(info['title'])} {escape(info['version'])}"
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width'>"
        f"<title>{title}</title><style>{STYLE}</style><h1>{title}</h1>"
        f"<p>{_prose(info.get('description', ''))}</p>"
        "<p><a href=/asyncapi.yaml>asyncapi.yaml</a> is the whole contract for a generator. "
        "Ladle <i>receives</i> what servers and backends publish, and <i>sends</i> the rest.</p>"
        "<h2>Operations</h2><table>"
        "<tr><th>Operation<th>Ladle<th>Exchange<th>Routing key<th>What it does</tr>"
        f"{rows}</table><h2>The document</h2><pre>{escape(document_yaml())}</pre></html>"
    )


def _channel(doc: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    name = operation["channel"]["$ref"].rpartition("/")[2]
    channel: dict[str, Any] = doc["channels"][name]
    return channel


def _row(name: str, operation: dict[str, Any], channel: dict[str, Any]) -> str:
    amqp = channel.get("bindings", {}).get("amqp", {})
    exchange = amqp.get("exchange", {}).get("name", "")
    key = channel.get("address") or "reply_to of the request"
    return (
        f"<tr><td><code>{escape(name)}</code><td>{escape(operation['action'])}s"
        f"<td>{_code(exchange)}<td>{_code(key)}<td>{_prose(operation.get('summary', ''))}</tr>"
    )


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>" if text else ""


def _prose(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(text))
