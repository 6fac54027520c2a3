"""The service's own counters, as its metrics page shows them."""

import http.server
import threading
from collections.abc import Iterator

import pytest

from ladle.fleet.report import ServiceCounts
from ladle.fleet.service_counts import (
    CountEvents,
    counts_from_metrics,
    counts_in,
    nothing_counted,
)

PAGE = """# HELP ladle_events_total Events by type and outcome.
# TYPE ladle_events_total counter
ladle_events_total{outcome="applied",type="room-created"} 40.0
ladle_events_total{type="worker-status",outcome="applied"} 1.2e+03
ladle_events_total{outcome="duplicate",type="room-created"} 3.0
ladle_events_total{outcome="ignored",type="room-deleted"} 9.0
ladle_events_total{outcome="dead",type="refused"} 2.0
ladle_events_created{outcome="dead",type="refused"} 1.7e+09
ladle_requests_total{operation="allocate",outcome="applied"} 77.0
"""


def test_the_counts_are_sums_over_types() -> None:
    assert counts_in(PAGE) == ServiceCounts(applied=1240, duplicate=3, dead=2)


def test_a_fresh_service_has_counted_nothing() -> None:
    assert counts_in("# TYPE ladle_events_total counter\n") == ServiceCounts()


def test_a_page_without_the_counter_is_another_program_s() -> None:
    assert counts_in("# TYPE up gauge\nup 1\n") is None


@pytest.fixture
def page_url() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(PAGE.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/metrics"
    server.shutdown()
    thread.join()
    server.server_close()


async def test_the_page_is_read(page_url: str) -> None:
    count = counts_from_metrics(page_url)
    assert await count() == ServiceCounts(applied=1240, duplicate=3, dead=2)


async def test_a_missing_page_is_not_read_and_said(caplog: pytest.LogCaptureFixture) -> None:
    assert await counts_from_metrics("http://127.0.0.1:9/metrics")() is None
    assert "http://127.0.0.1:9/metrics" in caplog.text


def test_an_address_of_no_page_is_refused() -> None:
    with pytest.raises(ValueError, match="file:"):
        counts_from_metrics("file:///etc/hostname")


async def test_nothing_counted_is_not_known() -> None:
    count: CountEvents = nothing_counted
    assert await count() is None
