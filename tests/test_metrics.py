"""The page for Prometheus, and the one for health checks."""

import urllib.error
import urllib.request

import pytest

from reid_stream.metrics import Metrics, serve


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return str(answer.read().decode())


def test_metrics_and_health_are_served_on_a_free_port() -> None:
    metrics = Metrics()
    metrics.frames_used.labels("door").inc(3)
    with serve(metrics, "127.0.0.1", 0, lambda: (True, "ok")) as port:
        assert 'reid_stream_frames_used_total{camera="door"} 3.0' in _get(f"http://127.0.0.1:{port}/metrics")
        assert _get(f"http://127.0.0.1:{port}/healthz") == "ok\n"


def test_a_sick_daemon_answers_503_with_the_reason() -> None:
    with serve(Metrics(), "127.0.0.1", 0, lambda: (False, "no camera")) as port:
        with pytest.raises(urllib.error.HTTPError) as caught:
            _get(f"http://127.0.0.1:{port}/healthz")
        assert caught.value.code == 503
        assert caught.value.read() == b"no camera\n"


def test_two_daemons_in_one_process_do_not_mix_their_numbers() -> None:
    one, two = Metrics(), Metrics()
    one.observations.inc()
    assert two.registry.get_sample_value("reid_stream_observations_total") == 0.0


def test_a_timed_stage_answers_as_before_and_is_recorded() -> None:
    metrics = Metrics()
    assert metrics.timed("double", lambda value: value * 2)(4) == 8
    assert metrics.registry.get_sample_value("reid_stream_stage_seconds_count", {"stage": "double"}) == 1.0
