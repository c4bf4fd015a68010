"""What every test runs under."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "wxnotify", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("wxnotify")
