"""What every framework refuses, and in which words."""

from __future__ import annotations

from typing import Any

# Arguments, and the sentence with the framework's name of γ0 in place of RATE.
FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"RATE": 0.0}, "RATE of Indian must be a finite number > 0, got 0.0"),
    ({"RATE": -1.0}, "RATE of Indian must be a finite number > 0, got -1.0"),
    ({"RATE": float("nan")}, "RATE of Indian must be a finite number > 0, got nan"),
    ({"RATE": "0.1"}, "RATE of Indian must be a finite number > 0, got '0.1'"),
    ({"alpha": 0.0}, "alpha of Indian must be a finite number > 0, got 0.0"),
    ({"alpha": float("inf")}, "alpha of Indian must be a finite number > 0, got inf"),
    ({"beta": -0.5}, "beta of Indian must be a finite number > 0, got -0.5"),
    ({"beta": "0.5"}, "beta of Indian must be a finite number > 0, got '0.5'"),
    (
        {"decay_power": 1.5},
        "decay_power of Indian must be a finite number >= 0 and <= 1, got 1.5",
    ),
    (
        {"weight_decay": -0.1},
        "weight_decay of Indian must be a finite number >= 0, got -0.1",
    ),
    (
        {"decoupled_weight_decay": "l2"},
        "decoupled_weight_decay of Indian must be true or false (1 or 0), got 'l2'",
    ),
    (
        {"initial_velocity": float("nan")},
        "initial_velocity of Indian must be a finite number, got nan",
    ),
]
BESIDE_A_SCHEDULE = (
    "learning_rate is a schedule, and decay_power = 0.5 would also lower the step size: give "
    "decay_power=0, so that only the schedule sets it"
)


# The arguments that INNAprop has not, and what it has beside.
OF_INDIAN_ALONE = {"decay_power", "initial_velocity"}
OF_INNAPROP: list[tuple[dict[str, Any], str]] = [
    ({"sigma": 1.0}, "sigma of Innaprop must be a finite number >= 0 and < 1, got 1.0"),
    ({"eps": 0.0}, "eps of Innaprop must be a finite number > 0, got 0.0"),
]


def faults(rate: str) -> list[tuple[dict[str, Any], str]]:
    """Return the faults with a framework's name of γ0."""
    return [
        ({name.replace("RATE", rate): value for name, value in options.items()}, message)
        for options, message in (
            (options, message.replace("RATE", rate)) for options, message in FAULTS
        )
    ]


def innaprop_faults(rate: str) -> list[tuple[dict[str, Any], str]]:
    """Return those of INNAprop."""
    shared = [
        (options, message.replace("Indian", "Innaprop"))
        for options, message in faults(rate)
        if not OF_INDIAN_ALONE & options.keys()
    ]
    return shared + OF_INNAPROP
