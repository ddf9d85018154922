"""The workshop with stand-ins for its worker and pusher: what one's failure means for the other."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from commerce_assets.events.ports import StorefrontUnavailableError
from commerce_assets.service import working
from commerce_assets.service.working import Workshop


def fails(error: Exception) -> Any:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_what_is_there_is_worked_though_the_storefront_cannot_be_asked() -> None:
    worked: list[float] = []
    reconciler = SimpleNamespace(run=fails(StorefrontUnavailableError("down")))
    workshop: Any = Workshop(SimpleNamespace(reconciler=reconciler, drain=worked.append), SimpleNamespace())  # type: ignore[arg-type]
    with pytest.raises(StorefrontUnavailableError):
        workshop.drain(10.0)
    assert len(worked) == 1


def test_a_pusher_that_fails_for_days_still_starts_anew_and_its_rests_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(working, "log_failure", lambda *_: None)
    rests: list[float] = []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            rests.append(timeout or 0.0)
            if len(rests) == 1_100:
                self.set()
            return self.is_set()

    workshop: Any = Workshop(SimpleNamespace(), SimpleNamespace(run=fails(ValueError("a locked book"))))  # type: ignore[arg-type]
    workshop._push(Stop())
    assert rests[:7] == [2, 4, 8, 16, 32, 60, 60]
    assert rests[-1] == 60
