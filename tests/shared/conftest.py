"""What the tests of `shared` have in common: quiet property tests, the embedded entropy network."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from shared.bundle import ENTROPY, Bundle
from shared.entropy_model import EntropyModel
from tests.continuing import with_random_layers

Arrays = dict[str, np.ndarray]

# Reproducible on every machine, and no clock: a busy core must not fail a test.
settings.register_profile(
    "shared",
    deadline=None,
    derandomize=True,
    max_examples=60,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
# Here and not in a fixture: tests take the profile that is there when they are collected.
settings.load_profile("shared")


@pytest.fixture(scope="session")
def network(bundle: Bundle) -> Arrays:
    """The arrays of the embedded entropy network."""
    with np.load(bundle.path(ENTROPY), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="session")
def entropy(network: Arrays) -> EntropyModel:
    return EntropyModel(network)


@pytest.fixture(scope="session")
def continuing(network: Arrays) -> EntropyModel:
    """The same network, but what it makes of latents that are there before is random."""
    return EntropyModel(with_random_layers(network))
