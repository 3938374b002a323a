"""What the tests of `shared` have in common: quiet property tests, the embedded entropy network."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from shared.bundle import ENTROPY, Bundle
from shared.coding.integer_layers import GROUPS, PASSES
from shared.entropy_model import EntropyModel

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
    chance = np.random.default_rng(0)
    channels, hidden = len(network["context.weight"]), len(network["hidden.0.bias"])
    sides = {"before1": (2 * channels + 1, 96), "before2": (9 * 96, 64)}
    for k in range(len(PASSES)):
        sides[f"before.{k}"] = (64, hidden)
        for g in range(GROUPS):
            sides[f"gate.{k}.{g}"] = (hidden, len(network[f"mean.{k}.{g}.bias"]))
    arrays = dict(network)
    for name, (inputs, outputs) in sides.items():
        arrays[f"{name}.weight"] = chance.integers(-60, 61, (inputs, outputs)).astype(np.int8)
        arrays[f"{name}.bias"] = chance.integers(0, 60_000, outputs).astype(np.int32)
        arrays[f"{name}.shift"] = np.full(outputs, 9, np.int8)
    return EntropyModel(arrays)
