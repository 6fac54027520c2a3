"""What figures are made of: rounds in turns, medians, and a ratio that a slow generator spoils."""

import pytest

from ladle.lab.rounds import Sample, interleave, latency, throughput


def sample(per_s: float, *, cpu_s: float = 0.1, generator_s: float = 0.1, **more: float) -> Sample:
    """A thousand messages in a second."""
    return Sample(per_s, 1000, 1.0, {"server": cpu_s, "generator": generator_s}, **more)


def test_every_round_runs_all_in_an_order_that_turns_after_one_unheard() -> None:
    ran: list[str] = []
    said: list[str] = []

    def contestant(name: str) -> Sample:
        ran.append(name)
        return sample(len(ran))

    samples = interleave(
        {name: lambda name=name: contestant(name) for name in ("a", "b", "c")},  # type: ignore[misc]
        2,
        said.append,
    )
    assert [len(heard) for heard in samples.values()] == [2, 2, 2], "the warm-up is not heard"
    assert ran == ["c", "a", "b", "a", "b", "c", "b", "c", "a"]
    assert said[0].startswith("warm-up: c")
    assert said[-1].startswith("round 2/2: a")


def test_a_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    ours = [sample(200), sample(900), sample(300)]
    yardstick = [sample(100), sample(100), sample(100)]
    rate, cpu, share, counted = throughput("rpc", ours, yardstick, "server")
    assert (rate.name, rate.value, rate.yardstick, rate.ratio) == ("rpc.rate", 300, 100, 3.0)
    assert cpu.unit == "us/message"
    assert cpu.value == pytest.approx(100)
    assert share.value == pytest.approx(0.1)
    assert counted.ratio == 3.0
    assert counted.as_json()["rounds"] == 3


def test_where_the_generator_is_the_bottleneck_cpu_decides() -> None:
    ours = [sample(100, cpu_s=0.1, generator_s=0.9)]
    yardstick = [sample(100, cpu_s=0.4, generator_s=0.9)]
    *_, counted = throughput("rpc", ours, yardstick, "server")
    assert counted.ratio == pytest.approx(4.0), "the same rate for a quarter of the CPU time"


def test_latencies_are_medians_too() -> None:
    ours = [sample(1, p50_ms=2.0, p99_ms=9.0), sample(1, p50_ms=4.0, p99_ms=9.0)]
    p50, p99 = latency("rpc", ours, [sample(1, p50_ms=1.0, p99_ms=3.0)] * 2)
    assert (p50.name, p50.value, p50.ratio) == ("rpc.p50", 3.0, 3.0)
    assert (p99.value, p99.yardstick, p99.ratio) == (9.0, 3.0, 3.0)
