"""The reference against HiGHS, a linear-programming solver that nobody here wrote.

The program is stated as in clearing.md and knows neither curves nor paths. The tie-breaks are solved one after the other,
each on the optimal face of those before it: objective, energy of homes, energy with the grid, then group by group in
order of rank.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

import highspy
import pytest

from matcher_c import reference
from tests.matcher_c.instances import BUY, SELL, Instance, Outcome, random_instance


class Program:
    """Groups and edge flows as variables, a balance a bus; objectives are given later, and may be pinned."""

    def __init__(self, instance: Instance) -> None:
        self.groups = instance.groups()
        self.instance = instance
        solver = highspy.Highs()  # type: ignore[no-untyped-call]
        solver.setOptionValue("output_flag", False)
        balance: list[list[tuple[int, int]]] = [[] for _ in instance.parent]
        for column, ((bus, side, _, grid), orders) in enumerate(self.groups.items()):
            bound = solver.getInfinity() if grid else sum(instance.quantity[i] for i in orders)
            solver.addVar(0, bound)
            balance[bus].append((column, 1 if side == SELL else -1))
        for b in instance.edges:
            for sign, capacity in ((1, instance.up[b]), (-1, instance.down[b])):
                column = solver.getNumCol()
                solver.addVar(0, solver.getInfinity() if capacity == -1 else capacity)
                balance[b].append((column, -sign))
                balance[instance.parent[b]].append((column, sign))
        for row in balance:
            self._add_row(solver, row, 0, 0)
        solver.changeObjectiveSense(highspy.ObjSense.kMaximize)
        self.solver = solver

    @staticmethod
    def _add_row(solver: highspy.Highs, row: Sequence[tuple[int, int]], low: int, high: int) -> None:
        solver.addRow(low, high, len(row), [column for column, _ in row], [value for _, value in row])

    def best(self, weights: Sequence[int]) -> int:
        """The largest weighted sum, which every later question must keep."""
        for column, weight in enumerate(weights):
            self.solver.changeColCost(column, weight)
        self.solver.run()
        if not weights:
            return 0  # nothing to decide, which HiGHS does not call optimal
        assert self.solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
        value = self.solver.getInfo().objective_function_value
        assert abs(value - round(value)) < 1e-3, "a vertex of a network is integral"
        row = [(column, weight) for column, weight in enumerate(weights) if weight]
        if row:
            self._add_row(self.solver, row, round(value), round(value))
        return round(value)

    def money(self) -> list[int]:
        fees = [-self.instance.fee[b] for b in self.instance.edges for _ in range(2)]
        return [limit if side == BUY else -limit for _, side, limit, _ in self.groups] + fees

    def energy(self, *, grid: bool, weight: int) -> list[int]:
        weights = [weight if is_grid == grid else 0 for *_, is_grid in self.groups]
        return weights + [0] * (2 * len(self.instance.edges))

    def only(self, group: int) -> list[int]:
        return [int(column == group) for column in range(len(self.groups) + 2 * len(self.instance.edges))]


def totals(instance: Instance, outcome: Outcome) -> list[int]:
    return [sum(outcome.traded[i] for i in orders) for orders in instance.groups().values()]


def seeded(seed: int, count: int) -> Iterator[Instance]:
    rng = random.Random(seed)
    for _ in range(count):
        yield random_instance(rng)


@pytest.mark.parametrize("seed", range(8))
def test_every_level_of_the_optimum(seed: int) -> None:
    for instance in seeded(seed, 40):
        outcome = instance.clear(reference.clear_arrays)
        program = Program(instance)
        assert instance.objective(outcome) == program.best(program.money())
        assert instance.energy(outcome, grid=False) == program.best(program.energy(grid=False, weight=1))
        assert instance.energy(outcome, grid=True) == -program.best(program.energy(grid=True, weight=-1))
        ranks = instance.ranks()
        groups = list(instance.groups())
        for side in (SELL, BUY):
            chosen = [g for g, group in enumerate(groups) if group[1] == side and not group[3]]
            for g in sorted(chosen, key=lambda g: (ranks[groups[g][0]], groups[g][0], groups[g][2])):
                assert totals(instance, outcome)[g] == program.best(program.only(g))


def test_objective_and_energy_of_streets_with_real_prices() -> None:
    """25 homes behind two feeders, prices in hundredths of a cent, quantities of a quarter-hour."""
    rng = random.Random(8000)
    for _ in range(60):
        homes = rng.randint(2, 25)
        count = 3 + homes
        bus = [3 + rng.randrange(homes) for _ in range(2 * homes)]
        street = Instance(
            parent=[-1, 0, 0] + [rng.randint(1, 2) for _ in range(homes)],
            fee=[0] + [rng.randint(0, 800) for _ in range(count - 1)],
            up=[
                -1,
                *(rng.choice([-1, 8000, 20000]) for _ in range(2)),
                *(rng.choice([-1, 1500, 2500]) for _ in range(homes)),
            ],
            down=[
                -1,
                *(rng.choice([-1, 8000, 20000]) for _ in range(2)),
                *(rng.choice([-1, 1500]) for _ in range(homes)),
            ],
            bus=[*bus, 0, 0],
            side=[rng.randint(0, 1) for _ in bus] + [BUY, SELL],
            limit=[rng.randint(8000, 32000) for _ in bus] + [8000, 30000],
            quantity=[rng.randint(1, 2000) for _ in bus] + [-1, -1],
        )
        if rng.random() < 0.3:  # an island
            street = street.with_orders(range(len(bus)))
        outcome = street.clear(reference.clear_arrays)
        program = Program(street)
        assert street.objective(outcome) == program.best(program.money())
        assert street.energy(outcome, grid=False) == program.best(program.energy(grid=False, weight=1))


def test_the_comparison_can_fail() -> None:
    """One Wh less at the margin is an optimum no longer, and the solver says so."""
    for instance in seeded(99, 200):
        outcome = instance.clear(reference.clear_arrays)
        if instance.objective(outcome) > 0:
            worse = replace(outcome, traded=[0] * len(outcome.traded), flow=[0] * len(outcome.flow))
            program = Program(instance)
            assert instance.objective(worse) < program.best(program.money())
            return
    pytest.fail("none of the instances trades")
