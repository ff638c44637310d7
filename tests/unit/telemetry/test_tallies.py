"""Histograms that are counted without locks are served as prometheus_client serves its own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.telemetry.metrics import ATTEMPTS, BATCH_SIZES, LINKS, Metric
from orchestrator.telemetry.tallies import Tallies

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def served(registry: CollectorRegistry) -> Samples:
    text = generate_latest(registry).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text) for sample in family.samples
    }  # fmt: skip


def both(metric: Metric, seen: list[tuple[str, float]]) -> tuple[Samples, Samples]:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    tallies = Tallies(metric)
    ours.register(tallies)
    family = Histogram(
        metric.name, metric.help, metric.labels, buckets=metric.buckets, registry=theirs
    )
    for name, amount in seen:
        values = (name,) * len(metric.labels)
        tallies.of(*values).observe(amount)
        family.labels(*values).observe(amount)
    return served(ours), served(theirs)


@given(
    metric=st.sampled_from([ATTEMPTS, LINKS, BATCH_SIZES]),
    seen=st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),
            st.one_of(
                st.sampled_from([0.0, 0.005, 1, 60, 500, 1e6]),  # bounds among them
                st.floats(min_value=0, max_value=1e9),
            ),
        ),
        max_size=30,
    ),
)
def test_a_tally_is_served_as_the_librarys_own_histogram(
    metric: Metric, seen: list[tuple[str, float]]
) -> None:
    ours, theirs = both(metric, seen)
    assert ours == theirs


def test_a_family_names_itself_before_it_has_counted_anything() -> None:
    registry = CollectorRegistry()
    registry.register(Tallies(ATTEMPTS))
    assert f"# TYPE {ATTEMPTS.name} histogram" in generate_latest(registry).decode()
