"""The models `simulate:` knows, each reading its own fields, and `stochastic:`.

A builder checks its fields and hands them to a solver; solvers compute nothing before their rows
are asked for, so building is also how an example is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
from gimle.asgard.examples.equations import points
from gimle.asgard.examples.fields import Field
from gimle.asgard.runtime import control, fields, mechanics, optimization, population, sequences
from gimle.asgard.runtime.sde import Scheme, ensemble, read_system
from gimle.asgard.runtime.simulation import Simulation

Floats = npt.NDArray[np.float64]
Builder = Callable[[Field, dict[str, float], "str | None"], Simulation]

MAX_PATH_POINTS = 20_000_000
TINY = 1e-12


def build_stochastic(root: Field, part: Field, parameters: dict[str, float]) -> Simulation:
    """The ensemble of `equation` under the configuration in `stochastic:`."""
    equation = root.need("equation", "write sde(drift, diffusion, t) = X")
    system = equation.checked(lambda: read_system(equation.text(), parameters))
    times = _times(part)
    paths = part.need("paths", "the number of paths").whole(1, 100_000)
    if paths * len(times) > MAX_PATH_POINTS:
        part.fail(f"paths times points must not exceed {MAX_PATH_POINTS}")
    names: dict[str, Scheme] = {"euler": "euler", "milstein": "milstein"}
    scheme = names[_choice(part, "scheme", names, "milstein")]
    mixing = part.get("correlation")
    rows = None if mixing is None else [one.numbers() for one in mixing.elements()]
    initial = part.need("initial", "the value of each state at the beginning").table()
    return part.checked(
        lambda: ensemble(
            system,
            initial,
            times,
            paths=paths,
            seed=_whole(part, "seed", 0, 0, 2**63),
            scheme=scheme,
            substeps=_whole(part, "substeps", 1, 1, 1_000),
            correlation=rows,
        )
    )


def build_simulation(part: Field, parameters: dict[str, float], expected: str | None) -> Simulation:
    """The simulation of `simulate.model`."""
    builder = MODELS[part.need("model").choice(MODELS)]
    return part.checked(lambda: builder(part, parameters, expected))


def _recurrence(part: Field, parameters: dict[str, float], expected: str | None) -> Simulation:
    return sequences.recurrence(
        part.need("next", "a formula of n, a (the term before) and b").text(),
        part.need("initial").numbers(1, 2),
        part.need("terms").whole(3, 100_000),
        expected=expected,
        parameters=parameters,
    )


def _markov_chain(part: Field, _: dict[str, float], __: str | None) -> Simulation:
    return sequences.markov_chain(
        [row.numbers() for row in part.need("matrix").elements()],
        part.need("start").numbers(),
        part.need("steps").whole(1, 100_000),
        state=_whole(part, "state", 0, 0, 1_000),
        walkers=_whole(part, "walkers", 20_000, 1, 1_000_000),
        seed=_whole(part, "seed", 0, 0, 2**63),
    )


def _minimise(part: Field, parameters: dict[str, float], _: str | None) -> Simulation:
    optimum = part.get("optimum")
    methods: dict[str, optimization.Method] = {
        "gradient_descent": "gradient_descent",
        "momentum": "momentum",
        "adam": "adam",
    }
    return optimization.minimise(
        part.need("loss", "a formula of the names in `start`").text(),
        part.need("start").table(),
        part.need("steps").whole(1, 1_000_000),
        method=methods[_choice(part, "method", methods, "gradient_descent")],
        rate=_number(part, "rate", 0.01, TINY),
        momentum=_number(part, "momentum", 0.9, 0.0, 0.9999),
        noise=_number(part, "noise", 0.0, 0.0),
        seed=_whole(part, "seed", 0, 0, 2**63),
        optimum=None if optimum is None else optimum.table(),
        parameters=parameters,
    )


def _fit(part: Field, _: dict[str, float], __: str | None) -> Simulation:
    return optimization.fit(
        part.need("formula", "a formula of t and of the parameters").text(),
        part.need("truth").table(),
        part.need("start").table(),
        _times(part),
        noise=_number(part, "noise", 0.0, 0.0),
        seed=_whole(part, "seed", 0, 0, 2**63),
        steps=_whole(part, "steps", 60, 1, 10_000),
    )


def _heat_source(part: Field, _: dict[str, float], __: str | None) -> Simulation:
    return optimization.heat_source(
        part.need("amplitudes", "a1, a2, ... of the true heating").table(),
        diffusivity=_number(part, "diffusivity", 0.05, TINY),
        time=_number(part, "after", 0.3, TINY),
        points=_whole(part, "points", 101, 5, 1_001),
        noise=_number(part, "noise", 0.0, 0.0),
        seed=_whole(part, "seed", 0, 0, 2**63),
        steps=_whole(part, "steps", 200, 1, 10_000),
        rate=_number(part, "rate", 0.1, TINY, 1.99),
    )


def _heat_plate(part: Field, _: dict[str, float], __: str | None) -> Simulation:
    return fields.heat_plate(
        [row.numbers(3, 3) for row in part.need("modes", "rows [a, j, k]").elements()],
        diffusivity=_number(part, "diffusivity", 0.1, TINY),
        size=_whole(part, "size", 81, 3, 512),
        times=_times(part),
    )


def _membrane(part: Field, _: dict[str, float], __: str | None) -> Simulation:
    centre = part.need("centre", "for example [0.3, 0.4]").numbers(2, 2)
    return fields.membrane(
        speed=_number(part, "speed", 1.0, TINY),
        size=_whole(part, "size", 121, 5, 512),
        times=_times(part),
        centre=(centre[0], centre[1]),
        width=_number(part, "width", 0.06, 1e-3, 1.0),
    )


def _gray_scott(part: Field, _: dict[str, float], __: str | None) -> Simulation:
    return fields.gray_scott(
        feed=_number(part, "feed", 0.0367, 0.0, 0.2),
        kill=_number(part, "kill", 0.0649, 0.0, 0.2),
        size=_whole(part, "size", 128, 16, 512),
        frames=_whole(part, "frames", 60, 2, 1_000),
        steps_per_frame=_whole(part, "steps_per_frame", 60, 1, 10_000),
        seed=_whole(part, "seed", 0, 0, 2**63),
    )


def _pendulum(part: Field, _: dict[str, float], __: str | None) -> Simulation:
    return mechanics.pendulum(
        length=_number(part, "length", 1.0, TINY),
        gravity=_number(part, "gravity", 9.81, TINY),
        angle=_number(part, "angle", 1.0, -3.14, 3.14),
        times=_times(part),
    )


def _double_pendulum(part: Field, _: dict[str, float], __: str | None) -> Simulation:
    angles = part.need("angles", "both angles from hanging, in radians").numbers(2, 2)
    return mechanics.double_pendulum(
        angles=(angles[0], angles[1]),
        gravity=_number(part, "gravity", 9.81, TINY),
        times=_times(part),
    )


def _n_body(part: Field, _: dict[str, float], __: str | None) -> Simulation:
    kinds: dict[str, mechanics.Bodies] = {"figure_eight": "figure_eight", "disc": "disc"}
    return mechanics.n_body(
        kinds[_choice(part, "bodies", kinds, "figure_eight")],
        times=_times(part),
        count=_whole(part, "count", 150, 1, 1_000),
        seed=_whole(part, "seed", 0, 0, 2**63),
        softening=_number(part, "softening", 0.0, 0.0),
        substeps=_whole(part, "substeps", 20, 1, 1_000),
    )


def _lotka_volterra(part: Field, _: dict[str, float], __: str | None) -> Simulation:
    start = part.need("start", "prey and predators at the beginning").numbers(2, 2)
    return population.lotka_volterra(
        birth=_number(part, "birth", 1.1, TINY),
        hunt=_number(part, "hunt", 0.4, TINY),
        feed=_number(part, "feed", 0.1, TINY),
        death=_number(part, "death", 0.4, TINY),
        start=(start[0], start[1]),
        times=_times(part),
    )


def _births_and_deaths(part: Field, _: dict[str, float], __: str | None) -> Simulation:
    return population.births_and_deaths(
        birth=_number(part, "birth", 1.0, TINY),
        death=_number(part, "death", 0.8, TINY),
        start=_whole(part, "start", 100, 1, 1_000_000),
        times=_times(part),
        paths=_whole(part, "paths", 400, 1, 100_000),
        seed=_whole(part, "seed", 0, 0, 2**63),
    )


def _pid(part: Field, _: dict[str, float], __: str | None) -> Simulation:
    gains = part.need("gains", "[p, i, d]").numbers(3, 3)
    return control.pid_loop(
        mass=_number(part, "mass", 1.0, TINY),
        damping=_number(part, "damping", 0.5, 0.0),
        stiffness=_number(part, "stiffness", 2.0, 0.0),
        gains=(gains[0], gains[1], gains[2]),
        target=_number(part, "target", 1.0),
        times=_times(part),
    )


def _cart_pole(part: Field, _: dict[str, float], __: str | None) -> Simulation:
    return control.cart_pole(
        cart=_number(part, "cart", 1.0, TINY),
        pole=_number(part, "pole", 0.2, TINY),
        length=_number(part, "length", 0.8, TINY),
        gravity=_number(part, "gravity", 9.81, TINY),
        angle=_number(part, "angle", 0.4, -0.8, 0.8),
        effort=_number(part, "effort", 0.1, TINY),
        times=_times(part),
    )


MODELS: dict[str, Builder] = {
    "recurrence": _recurrence,
    "markov_chain": _markov_chain,
    "minimise": _minimise,
    "fit": _fit,
    "heat_source": _heat_source,
    "heat_plate": _heat_plate,
    "membrane": _membrane,
    "gray_scott": _gray_scott,
    "pendulum": _pendulum,
    "double_pendulum": _double_pendulum,
    "n_body": _n_body,
    "lotka_volterra": _lotka_volterra,
    "births_and_deaths": _births_and_deaths,
    "pid": _pid,
    "cart_pole": _cart_pole,
}
"""What `simulate.model` may be."""


def _times(part: Field) -> Floats:
    return points(part.need("time", "for example time: {range: [0, 10], points: 501}"))


def _number(
    part: Field, name: str, default: float, low: float = -np.inf, high: float = np.inf
) -> float:
    field = part.get(name)
    return default if field is None else field.number(low, high)


def _whole(part: Field, name: str, default: int, low: int, high: int) -> int:
    field = part.get(name)
    return default if field is None else field.whole(low, high)


def _choice(part: Field, name: str, known: Iterable[str], default: str) -> str:
    field = part.get(name)
    return default if field is None else field.choice(known)
