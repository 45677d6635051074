"""What holds for every test."""

from hypothesis import HealthCheck, settings

# Timing decides no test: a busy machine is not a bug.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
