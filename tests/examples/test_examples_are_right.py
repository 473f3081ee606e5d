"""Each example against its analytic solution or its invariant, within a stated error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gimle.asgard.examples import CATEGORIES, catalogue
from gimle.asgard.examples.catalogue import name_of
from gimle.asgard.monitor.storage import Result, Run
from gimle.asgard.runtime.mechanics import FIGURE_EIGHT_PERIOD, pendulum_period

pytestmark = pytest.mark.xdist_group("examples")

ResultOf = Callable[..., Result]
NAMES = [name_of(path) for path in catalogue()]

# (example, place of the result, largest difference between computed and the exact answer)
EXACT = [
    ("basic/01_integration.yaml", 0, 0.0),
    ("basic/02_differentiation.yaml", 0, 1e-12),
    ("basic/03_fundamental_theorem.yaml", 0, 1e-10),
    ("basic/04_exponential.yaml", 0, 1e-12),
    ("basic/05_damped_oscillator.yaml", 0, 1e-6),
    ("basic/06_logistic_growth.yaml", 0, 1e-8),
    ("advanced/01_second_derivative.yaml", 0, 1e-10),
    ("advanced/02_mixed_partials.yaml", 0, 1e-11),
    ("advanced/03_heat_equation.yaml", 0, 1e-9),
    ("advanced/04_wave_equation.yaml", 0, 1e-6),
    ("advanced/05_heated_plate.yaml", 1, 1e-4),  # second order: (1/96)^2 is 1.1e-4
    ("advanced/05_heated_plate.yaml", 2, 1e-4),
    ("advanced/06_drum.yaml", 1, 1e-12),
    ("discrete/01_fibonacci.yaml", 0, 1e-8),  # the closed form is rounded, not the sequence
    ("discrete/02_markov_chain.yaml", 0, 0.015),  # 4 standard deviations of 20,000 draws
    ("discrete/05_partial_sums.yaml", 0, 0.012),  # Euler's expansion at n = 0
    ("optimization/03_inverse_problem.yaml", 1, 0.03),  # noise 0.05, 400 samples
    ("optimization/04_heat_source.yaml", 1, 0.02),
    ("engineering/03_predator_prey.yaml", 3, 1e-9),
    ("engineering/04_pid_control.yaml", 0, 1e-10),
    ("engineering/06_pendulum.yaml", 1, 1e-7),
    ("engineering/07_double_pendulum.yaml", 1, 1e-7),
    ("engineering/08_three_bodies.yaml", 1, 1e-10),
    ("engineering/09_galaxy.yaml", 1, 1e-4),
]


@pytest.mark.parametrize(("name", "place", "bound"), EXACT)
def test_an_example_is_within_its_error_of_the_exact_answer(
    name: str, place: int, bound: float, result: ResultOf
) -> None:
    data = result(name, place).data
    computed = np.asarray(data["computed"] if "computed" in data else data["values"])
    exact = np.asarray(data["expected"])
    assert computed.shape == exact.shape
    assert computed.size > 10
    assert np.max(np.abs(computed - exact)) <= bound


def test_every_result_with_an_exact_answer_is_held_to_it(computed: Callable[[str], Run]) -> None:
    held = {(name, place) for name, place, _ in EXACT}
    for name in NAMES:
        for place, one in enumerate(computed(name).results):
            assert "expected" not in one.data or (name, place) in held


@pytest.mark.parametrize("name", NAMES)
def test_a_run_says_what_it_is_and_ends_well(name: str, computed: Callable[[str], Run]) -> None:
    run = computed(name)
    assert run.status == "succeeded"
    assert run.finished_at is not None
    assert run.metadata["example"] == name
    assert run.metadata["category"] == name.split("/")[0]
    for one in run.results:
        assert one.display["title"]
        assert set(one.display["labels"]) == {"x", "y"}
        assert every_number_is_finite(one.data)


def every_number_is_finite(data: Any) -> bool:
    if isinstance(data, dict):
        return all(every_number_is_finite(data[name]) for name in data.keys() - {"names"})
    return bool(np.all(np.isfinite(np.asarray(data, dtype=np.float64))))


def test_the_examples_cover_every_category_and_every_type(computed: Callable[[str], Run]) -> None:
    assert len(NAMES) >= 22
    assert {name.split("/")[0] for name in NAMES} == set(CATEGORIES)
    types = Counter(one.result_type for name in NAMES for one in computed(name).results)
    assert set(types) == {
        "Solution1D",
        "Solution2D",
        "StochasticEnsemble",
        "DiscreteSequence",
        "OptimizationResult",
        "PhysicsAnimation",
    }
    assert min(types.values()) >= 3


def test_the_documented_example_is_as_documented(computed: Callable[[str], Run]) -> None:
    run = computed("basic/01_integration.yaml")
    (one,) = run.results
    assert (run.name, run.equation) == ("Integration Example", "int(f, x) = g")
    assert run.circuit == "register(x) [1->1]"
    assert run.metadata["input"]["coefficients"]["input"] == [1.0, 0.0, 0.0, 0.0]
    x = np.asarray(one.data["x"])
    assert (one.result_type, x.size, x[0], x[-1]) == ("Solution1D", 100, 0.0, 3.0)
    assert np.array_equal(one.data["computed"], x)
    assert one.display["convention"] == "taylor"
    assert np.asarray(one.data["coefficients"])[:3].tolist() == [0.0, 1.0, 0.0]


def test_fibonacci_and_catalan_numbers_are_exact(result: ResultOf) -> None:
    fibonacci = np.asarray(result("discrete/01_fibonacci.yaml").data["values"])
    assert fibonacci[:8].tolist() == [0, 1, 1, 2, 3, 5, 8, 13]
    assert np.array_equal(fibonacci[2:], fibonacci[1:-1] + fibonacci[:-2])
    catalan = np.asarray(result("discrete/03_catalan_numbers.yaml").data["values"])
    assert catalan[:6].tolist() == [1, 1, 2, 5, 14, 42]
    assert catalan[15] == 9694845


def test_the_logistic_map_settles_on_its_cycle_of_two(result: ResultOf) -> None:
    r = 3.2
    root = np.sqrt((r + 1) * (r - 3))
    cycle = sorted([(r + 1 - root) / (2 * r), (r + 1 + root) / (2 * r)])
    values = np.asarray(result("discrete/04_logistic_map.yaml").data["values"])
    assert sorted(values[-2:]) == pytest.approx(cycle, abs=1e-9)


def moments(one: Result) -> tuple[Any, Any, Any, int]:
    """Times, and for each the mean and variance over the paths; and how many paths."""
    paths = np.asarray(one.data["paths"])
    t = np.asarray(one.data["t"])
    assert paths.shape[1] == t.size
    return t, paths.mean(axis=0), paths.var(axis=0, ddof=1), paths.shape[0]


def near(found: Any, true: Any, variance: Any, count: int) -> None:
    """Within 5 standard deviations of a mean of `count`, at every time."""
    allowed = 5 * np.sqrt(variance / count) + 1e-9
    assert np.all(np.abs(found - true) <= allowed)


def test_brownian_motion_has_mean_0_and_variance_t(result: ResultOf) -> None:
    t, mean, variance, count = moments(result("stochastic/01_brownian_motion.yaml"))
    near(mean, 0.0, t, count)
    near(variance, t, 2 * t**2, count - 1)
    steps = np.diff(np.asarray(result("stochastic/01_brownian_motion.yaml").data["paths"]), axis=1)
    assert np.var(steps) == pytest.approx(t[1], rel=0.02)


def test_the_ornstein_uhlenbeck_process_relaxes_as_it_must(result: ResultOf) -> None:
    t, mean, variance, count = moments(result("stochastic/02_ornstein_uhlenbeck.yaml"))
    theta, mu, sigma = 1.2, 0.5, 0.4
    true = sigma**2 / (2 * theta) * (1 - np.exp(-2 * theta * t))
    # Euler's steps of 1/400 change mean and variance by less than half a percent.
    near(mean, mu + (2.0 - mu) * np.exp(-theta * t), true + 1e-3, count)
    near(variance, true, 2 * true**2 + 1e-6, count - 1)


def test_geometric_brownian_motion_grows_and_is_lognormal(result: ResultOf) -> None:
    one = result("stochastic/03_geometric_brownian_motion.yaml")
    t, mean, _, count = moments(one)
    mu, sigma = 0.08, 0.25
    near(mean, 100 * np.exp(mu * t), 1e4 * np.exp(2 * mu * t) * np.expm1(sigma**2 * t), count)
    logs = np.log(np.asarray(one.data["paths"]) / 100)
    near(logs.mean(axis=0), (mu - sigma**2 / 2) * t, sigma**2 * t, count)
    near(logs.var(axis=0, ddof=1), sigma**2 * t, 2 * (sigma**2 * t) ** 2, count - 1)


def test_the_heston_model_keeps_its_means_and_its_correlation(result: ResultOf) -> None:
    t, price, spread, count = moments(result("stochastic/04_heston.yaml", 0))
    near(price, 100 * np.exp(0.05 * t), spread, count)
    t, variance, wide, count = moments(result("stochastic/04_heston.yaml", 1))
    # Full truncation lets the variance dip below 0 and biases its mean by a percent or two.
    near(variance, 0.04, wide + 2e-4, count)
    s = np.asarray(result("stochastic/04_heston.yaml", 0).data["paths"])
    v = np.asarray(result("stochastic/04_heston.yaml", 1).data["paths"])
    together = np.corrcoef(np.diff(np.log(s), axis=1).ravel(), np.diff(v, axis=1).ravel())[0, 1]
    assert together == pytest.approx(-0.7, abs=0.05)


def test_rates_return_to_their_mean(result: ResultOf) -> None:
    t, mean, variance, count = moments(result("stochastic/05_cox_ingersoll_ross.yaml"))
    near(mean, 0.05 + (0.02 - 0.05) * np.exp(-0.8 * t), variance + 1e-6, count)
    end = 0.05 * 0.1**2 / (2 * 0.8)
    assert variance[-1] == pytest.approx(end, rel=0.35)


def test_thermal_noise_is_kt_over_c(result: ResultOf) -> None:
    _, _, variance, count = moments(result("engineering/01_thermal_noise.yaml"))
    boltzmann, kelvin, farad = 1.380649e-23, 300.0, 1e-12
    microvolts = np.sqrt(boltzmann * kelvin / farad) * 1e6
    late = variance[300:].mean()
    assert np.sqrt(late) == pytest.approx(microvolts, rel=0.04)
    assert count == 500


def test_births_and_deaths_have_their_mean_and_variance(result: ResultOf) -> None:
    one = result("engineering/02_population_dynamics.yaml")
    t, mean, variance, count = moments(one)
    grown = np.exp((1.0 - 0.8) * t)
    true = 60 * (1.0 + 0.8) / (1.0 - 0.8) * grown * (grown - 1)
    near(mean, 60 * grown, true, count)
    assert variance[-1] == pytest.approx(true[-1], rel=0.3)
    assert np.all(np.asarray(one.data["paths"]) == np.rint(np.asarray(one.data["paths"])))


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("optimization/01_gradient_descent.yaml", 1e-6),
        ("optimization/02_adam.yaml", 0.1),  # its gradients are noisy
        ("optimization/03_inverse_problem.yaml", 0.05),
        ("optimization/04_heat_source.yaml", 0.02),
        ("optimization/05_momentum.yaml", 1e-6),
    ],
)
def test_a_search_ends_at_the_optimum(name: str, error: float, result: ResultOf) -> None:
    data = result(name).data
    loss = np.asarray(data["loss"])
    assert loss[-1] < loss[0] / 50
    assert set(data["parameters"]) == set(data["optimum"])
    for parameter, series in data["parameters"].items():
        assert len(series) == len(loss)
        assert series[-1] == pytest.approx(data["optimum"][parameter], abs=error)


def test_plain_descent_contracts_at_its_exact_rate(result: ResultOf) -> None:
    x = np.asarray(result("optimization/01_gradient_descent.yaml").data["parameters"]["x"])
    exact = 1.0 - 5.0 * (1 - 0.045) ** np.arange(x.size)
    assert np.max(np.abs(x - exact)) < 1e-12


def test_momentum_arrives_sooner_than_plain_descent(result: ResultOf) -> None:
    plain, heavy = (
        np.asarray(result(f"optimization/{name}.yaml").data["loss"])
        for name in ("01_gradient_descent", "05_momentum")
    )
    assert np.argmax(heavy < 1e-8) < np.argmax(plain < 1e-8) / 2


def test_the_plate_cools_in_every_frame(result: ResultOf) -> None:
    data = result("advanced/05_heated_plate.yaml").data
    frames = np.asarray(data["frames"])
    assert frames.shape == (81, 97, 97)
    assert np.asarray(data["t"]).shape == (81,)
    hottest = frames.max(axis=(1, 2))
    assert np.all(np.diff(hottest) < 0)
    assert np.max(np.abs(frames[:, [0, -1], :])) < 1e-12


def test_a_wave_on_the_drum_is_no_faster_than_its_speed(result: ResultOf) -> None:
    data = result("advanced/06_drum.yaml").data
    frames, t = np.asarray(data["frames"]), np.asarray(data["t"])
    y, x = np.mgrid[0:1:161j, 0:1:161j]
    away = np.hypot(x - 0.35, y - 0.4)
    for place in (6, 12):
        beyond = away > t[place] + 6 * 0.05
        assert beyond.any()
        assert np.max(np.abs(frames[place][beyond])) < 1e-4


def test_concentrations_stay_between_0_and_1_and_patterns_grow(result: ResultOf) -> None:
    frames = np.asarray(result("advanced/07_reaction_diffusion.yaml").data["frames"])
    assert frames.min() >= 0
    assert frames.max() <= 1
    covered = (frames > 0.15).mean(axis=(1, 2))
    assert covered[-1] > 5 * covered[1]


def test_the_populations_turn_round_their_equilibrium(result: ResultOf) -> None:
    prey = np.asarray(result("engineering/03_predator_prey.yaml", 0).data["computed"])
    predators = np.asarray(result("engineering/03_predator_prey.yaml", 1).data["computed"])
    t = np.asarray(result("engineering/03_predator_prey.yaml", 0).data["x"])
    peaks = np.flatnonzero((prey[1:-1] > prey[:-2]) & (prey[1:-1] > prey[2:])) + 1
    whole = slice(int(peaks[0]), int(peaks[-1]))
    # Over whole cycles the means are the equilibrium: death / feed and birth / hunt.
    assert np.trapezoid(prey[whole], t[whole]) / np.ptp(t[whole]) == pytest.approx(4.0, rel=0.01)
    assert np.trapezoid(predators[whole], t[whole]) / np.ptp(t[whole]) == pytest.approx(
        2.75, rel=0.01
    )


def test_the_pid_loop_holds_its_target(result: ResultOf) -> None:
    data = result("engineering/04_pid_control.yaml").data
    assert np.asarray(data["computed"])[-1] == pytest.approx(1.0, abs=0.01)
    force = np.asarray(result("engineering/04_pid_control.yaml", 1).data["computed"])
    assert force[-1] == pytest.approx(2.0, abs=0.05)


def test_the_pole_is_caught_and_the_rod_keeps_its_length(result: ResultOf) -> None:
    positions = np.asarray(result("engineering/05_cart_pole.yaml").data["positions"])
    assert positions.shape == (401, 2, 2)
    rod = np.linalg.norm(positions[:, 1] - positions[:, 0], axis=1)
    assert np.max(np.abs(rod - 0.8)) < 1e-12
    angle = np.asarray(result("engineering/05_cart_pole.yaml", 1).data["computed"])
    assert angle[0] == 0.4
    assert np.max(np.abs(angle[-40:])) < 1e-3


def test_the_pendulum_has_the_exact_period_of_a_wide_swing(result: ResultOf) -> None:
    data = result("engineering/06_pendulum.yaml", 1).data
    t, angle = np.asarray(data["x"]), np.asarray(data["computed"])
    down = np.flatnonzero((angle[:-1] > 0) & (angle[1:] <= 0))
    crossings = t[down] + (t[1] - t[0]) * angle[down] / (angle[down] - angle[down + 1])
    assert np.diff(crossings) == pytest.approx(pendulum_period(1.0, 9.81, 2.5), abs=1e-4)


def test_both_rods_of_the_double_pendulum_keep_their_length(result: ResultOf) -> None:
    positions = np.asarray(result("engineering/07_double_pendulum.yaml").data["positions"])
    rods = np.linalg.norm(np.diff(positions, axis=1), axis=2)
    assert np.max(np.abs(rods - 1.0)) < 1e-12


def test_the_three_bodies_return_after_a_period(result: ResultOf) -> None:
    data = result("engineering/08_three_bodies.yaml").data
    positions, t = np.asarray(data["positions"]), np.asarray(data["t"])
    assert t[250] == pytest.approx(FIGURE_EIGHT_PERIOD, abs=1e-6)
    assert np.max(np.abs(positions[250] - positions[0])) < 1e-5
    assert np.max(np.abs(positions.sum(axis=1))) < 1e-9


def test_the_galaxy_keeps_its_centre_of_mass(result: ResultOf) -> None:
    positions = np.asarray(result("engineering/09_galaxy.yaml").data["positions"])
    masses = np.concatenate([[1.0], np.full(150, 0.1 / 150)])
    centre = np.einsum("b,fbd->fd", masses, positions) / masses.sum()
    # It drifts evenly, by the momentum it was begun with.
    drift = np.diff(centre, axis=0)
    assert np.max(np.abs(drift - drift[0])) < 1e-12
