"""The claims bench: it resumes, it judges by its rule, and its page is that of its results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.claims import families
from benchmarks.claims.__main__ import PAGE, RESULTS
from benchmarks.claims.asked import ASKED, COUNTED
from benchmarks.claims.claim import Arm, Claim, Experiment, Outcome, Side, Trial
from benchmarks.claims.families import EXPERIMENTS
from benchmarks.claims.jobs import reported_jobs, run_missing
from benchmarks.claims.page import effect_of, page
from benchmarks.claims.results import file_of, read


class Bench:
    """Two arms without a net, which note each run; "fast" is better at 0.1 than at 1."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, Trial]] = []
        self.fail_at: int | None = None

    def arm(self, name: str, gain: float) -> Arm:
        def run(trial: Trial) -> Outcome:
            if len(self.ran) == self.fail_at:
                raise RuntimeError("power cut")
            self.ran.append((name, trial))
            return Outcome(figures={"test": 50 + gain - trial.rate + trial.seed % 3})

        return Arm(name=name, run=run, rates=(0.1, 1.0))

    def experiment(self) -> Experiment:
        return Experiment(
            name="toy",
            setting="Nothing is trained.",
            arms=(self.arm("slow", 0), self.arm("fast", 2)),
            claims=(
                Claim(
                    asked="12", paper="-", text="fast > slow", more=Side("fast"), less=Side("slow")
                ),
            ),
        )


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    found = Bench()
    monkeypatch.setattr(families, "EXPERIMENTS", (found.experiment(),))
    return found


def test_an_interrupted_bench_runs_only_what_is_missing(bench: Bench, tmp_path: Path) -> None:
    bench.fail_at = 6  # four runs choose the rates, two of ten are reported
    with pytest.raises(RuntimeError):
        run_missing(families.EXPERIMENTS, tmp_path, tmp_path, workers=0, quick=False)
    with file_of(tmp_path, "toy").open("a") as file:
        file.write('{"experiment": "toy", "arm": "sl')  # killed while it wrote
    bench.fail_at = None
    run_missing(families.EXPERIMENTS, tmp_path, tmp_path, workers=0, quick=False)
    assert len(bench.ran) == 4 + 10
    assert {trial.rate for _, trial in bench.ran if trial.phase == "test"} == {0.1}
    assert {trial.seed for _, trial in bench.ran if trial.phase == "test"} == {0, 1, 2, 3, 4}
    run_missing(families.EXPERIMENTS, tmp_path, tmp_path, workers=0, quick=False)
    assert len(bench.ran) == 14
    assert "| fast > slow | - | [toy](#toy) | +2.00 | +2.00 … +2.00 | 5 | **shown** |" in page(
        families.EXPERIMENTS, read(tmp_path, ["toy"])
    )


def test_a_quick_bench_chooses_no_rates(bench: Bench, tmp_path: Path) -> None:
    run_missing(families.EXPERIMENTS, tmp_path, tmp_path, workers=0, quick=True)
    assert [trial.phase for _, trial in bench.ran] == ["test"] * 4
    assert {trial.rate for _, trial in bench.ran} == {1.0}


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ([1.0, 2.0, 3.0, 2.0, 1.0], "shown"),
        ([-1.0, -2.0, -3.0, -2.0, -1.0], "contradicted"),
        ([-1.0, 2.0, 3.0, -2.0, 1.0], "not shown"),
        ([0.0, 0.0, 0.0], "not shown"),
    ],
)
def test_the_rule(found: list[float], verdict: str) -> None:
    effect = effect_of(found)
    assert effect is not None
    assert effect.verdict == verdict


def test_the_interval_is_students_t() -> None:
    effect = effect_of([1.0, 2.0, 3.0])
    assert effect is not None
    assert effect.high == pytest.approx(2 + 4.303 / 3**0.5, abs=1e-3)
    assert effect_of([1.0]) is None
    computed = effect_of([1.0], exact=True)
    assert computed is not None
    assert (computed.low, computed.high) == (1.0, 1.0)


def test_every_claim_that_the_issue_asks_for_has_a_main_row() -> None:
    main = [c.asked for e in EXPERIMENTS for c in e.claims if not c.part]
    assert set(main) == set(ASKED)
    assert len(COUNTED) == 18


def test_the_page_counts_a_claim_when_all_of_its_main_rows_are_shown(
    bench: Bench, tmp_path: Path
) -> None:
    run_missing(families.EXPERIMENTS, tmp_path, tmp_path, workers=0, quick=False)
    (toy,) = families.EXPERIMENTS
    (claim,) = toy.claims
    lost = replace(claim, more=Side("slow"), less=Side("fast"))
    for claims, said in (
        ((claim,), "**1 of 18 claims are shown in all of their main rows, 1 in every row.**"),
        ((claim, lost), "**0 of 18 claims are shown in all of their main rows, 0 in every row.**"),
        (
            (claim, replace(lost, part=True)),
            "**1 of 18 claims are shown in all of their main rows, 0 in every row.**",
        ),
    ):
        judged = Experiment(name="toy", setting="-", arms=toy.arms, claims=claims)
        assert said in page((judged,), read(tmp_path, ["toy"]))


def test_the_page_is_that_of_the_committed_results() -> None:
    rows = read(RESULTS, [e.name for e in EXPERIMENTS])
    assert PAGE.read_text(encoding="utf-8") == page(EXPERIMENTS, rows)


def test_every_committed_result_is_one_that_the_page_takes() -> None:
    rows = read(RESULTS, [e.name for e in EXPERIMENTS])
    assert {p.name for p in RESULTS.glob("*.jsonl")} <= {
        file_of(RESULTS, e.name).name for e in EXPERIMENTS
    }
    for experiment in [e for e in EXPERIMENTS if file_of(RESULTS, e.name).is_file()]:
        for name, jobs in reported_jobs(experiment, rows).items():
            done = [job for job in jobs if job in rows]
            assert len(done) >= min(5, len(experiment.seeds)), f"{experiment.name}: {name}"
