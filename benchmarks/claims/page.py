"""The verdicts, and the page that states them.

The rule, fixed before any run: the effect of a claim is a difference seed by seed, its interval
Student's t at 95 % over the seeds. "shown": the interval is above zero. "contradicted": it is below
zero. Else "not shown". Intervals are not corrected for the number of claims.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.claims.asked import ASKED, COUNTED
from benchmarks.claims.claim import Claim, Experiment, Side
from benchmarks.claims.jobs import reported_jobs
from benchmarks.claims.results import Job, Row
from scipy import stats

Verdict = Literal["shown", "not shown", "contradicted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """The mean difference and its 95 % interval over `seeds` pairs."""

    mean: float
    low: float
    high: float
    seeds: int

    @property
    def verdict(self) -> Verdict:
        """As the rule says."""
        if self.low > 0:
            return "shown"
        return "contradicted" if self.high < 0 else "not shown"


def effect_of(differences: Sequence[float], *, exact: bool = False) -> Effect | None:
    """The effect of paired `differences`; None of fewer than two, which have no interval. `exact`:
    what is computed has its extremes for an interval, and may be alone."""
    count = len(differences)
    if not count or (count < 2 and not exact):
        return None
    mean = statistics.fmean(differences)
    if exact:
        return Effect(mean=mean, low=min(differences), high=max(differences), seeds=count)
    half = float(stats.t.ppf(0.975, count - 1)) * statistics.stdev(differences) / math.sqrt(count)
    return Effect(mean=mean, low=mean - half, high=mean + half, seeds=count)


def differences(
    claim: Claim, jobs: Mapping[str, Sequence[Job]], rows: Mapping[Job, Row]
) -> list[float]:
    """`more` − `less` for each seed that all its arms have."""
    found = {
        side: {job.seed: rows[job].figures[side.figure] for job in jobs[side.arm] if job in rows}
        for side in claim.sides()
    }
    seeds = set.intersection(*(set(f) for f in found.values()))

    def value(side: Side | float, seed: int) -> float:
        return found[side][seed] if isinstance(side, Side) else side

    return [value(claim.more, seed) - value(claim.less, seed) for seed in sorted(seeds)]


def page(experiments: Sequence[Experiment], rows: Mapping[Job, Row], *, quick: bool = False) -> str:
    """The whole page as Markdown."""
    jobs = {e.name: reported_jobs(e, rows, quick=quick) for e in experiments}
    ran = [
        rows[job] for arms in jobs.values() for own in arms.values() for job in own if job in rows
    ]
    lines = [*_HEAD, "", *_asked(experiments, jobs, rows), ""]
    lines += [*_verdicts(experiments, jobs, rows), ""]
    for experiment in experiments:
        lines += [f"## {experiment.name}", "", experiment.setting, ""]
        lines += [*_arms(experiment, jobs[experiment.name], rows), ""]
    machines = sorted({row.machine for row in ran})
    commits = sorted({row.commit for row in ran})
    versions = {e.name: e.version for e in experiments}
    counted = [r for job, r in rows.items() if job.version == versions[job.experiment]]
    spent = sum(row.cpu_seconds for row in counted)
    lines += [
        f"{len(counted)} runs, {spent / 60:.0f} minutes of processor time. "
        f"Processor: {'; '.join(machines)}. Commits: {', '.join(commits)}.",
    ]
    return "\n".join(lines) + "\n"


_HEAD = """\
# The papers' claims, tried

`make claims` runs what is missing of this page and writes it; `python -m benchmarks.claims --table`
prints it from the results in `benchmarks/claims`. Papers go by [number](papers.md). Small
nets, trained end to end on two cores: what is shown here is that the mechanism, as built, does on a
small scale what the paper says of it; not the paper's figures.

Each effect is a difference between two arms that share films, clips, steps and seeds, in points,
seed by seed; its interval is Student's t at 95 % over the seeds, not corrected for the number of
claims. An arm's learning rate is chosen on validation clips, by as many runs for each arm, with
seeds apart from those reported; test clips are drawn beforehand and no choice sees them. The rule,
fixed in `benchmarks/claims/page.py`: **shown** when the interval is above zero, **contradicted**
when it is below, else **not shown**. What is computed and not sampled has its extremes in place of
an interval.""".splitlines()


def _asked(
    experiments: Sequence[Experiment],
    jobs: Mapping[str, Mapping[str, Sequence[Job]]],
    rows: Mapping[Job, Row],
) -> list[str]:
    """The claims as the issue lists them, how much of each is shown, and how many are."""
    found: dict[str, list[tuple[bool, bool]]] = {number: [] for number in ASKED}
    for experiment in experiments:
        for claim in experiment.claims:
            effect = effect_of(differences(claim, jobs[experiment.name], rows), exact=claim.exact)
            shown = effect is not None and effect.verdict == "shown"
            found[claim.asked].append((claim.part, shown))
    main = {n: [shown for part, shown in own if not part] for n, own in found.items()}
    every = {n: [shown for _, shown in own] for n, own in found.items()}
    of = {n: [f"{sum(o[n])} of {len(o[n])}" for o in (main, every)] for n in ASKED}
    count = sum(bool(main[n]) and all(main[n]) for n in COUNTED)
    whole = sum(bool(every[n]) and all(every[n]) for n in COUNTED)
    return [
        f"**{count} of {len(COUNTED)} claims are shown in all of their main rows, {whole} in every "
        "row.** A main row is what the claim says itself; the others are finer points of the "
        "papers' tables, controls, or earlier worlds for it. Some experiments are second or later "
        "versions, made because the earlier ones did not show the claim: what those found and "
        "what was changed is in [experiments.md](experiments.md).",
        "",
        "| | claim | main rows shown | rows shown |",
        "|---|---|---|---|",
        *(f"| {n} | {text} | {' | '.join(of[n])} |" for n, text in ASKED.items()),
    ]


def _verdicts(
    experiments: Sequence[Experiment],
    jobs: Mapping[str, Mapping[str, Sequence[Job]]],
    rows: Mapping[Job, Row],
) -> list[str]:
    lines = [
        "| claim | paper | our experiment | effect | 95 % interval | seeds | verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    reasons = []
    for experiment in experiments:
        link = f"[{experiment.name}](#{experiment.name.replace(' ', '-')})"
        for claim in experiment.claims:
            found = effect_of(differences(claim, jobs[experiment.name], rows), exact=claim.exact)
            head = f"| {claim.text} | {claim.paper} | {link}"
            if found is None:
                lines.append(f"{head} | | | | not yet run |")
                continue
            interval = f"{found.low:+.2f} … {found.high:+.2f}"
            verdict = f"**{found.verdict}**"
            lines.append(f"{head} | {found.mean:+.2f} | {interval} | {found.seeds} | {verdict} |")
            if found.verdict != "shown" and claim.reason:
                reasons.append(f"- *{claim.text}* ({claim.paper}): {claim.reason}")
    if reasons:
        lines += ["", "What is not shown, why, and what would be needed:", "", *reasons]
    return lines


def _arms(
    experiment: Experiment, jobs: Mapping[str, Sequence[Job]], rows: Mapping[Job, Row]
) -> list[str]:
    figures = [n for n in ("test", "train") if any(n in r.figures for r in _ran(jobs, rows))]
    others = list(dict.fromkeys(n for r in _ran(jobs, rows) for n in r.figures if n not in figures))
    titles = [*(f"{n}: {experiment.unit}" for n in figures), *others]
    lines = [
        "| arm | " + " | ".join(titles) + " | rate | MMAC a step | parameters | CPU s a run |",
        "|---" * (len(titles) + 5) + "|",
    ]
    for name, own in jobs.items():
        done = [rows[job] for job in own if job in rows]
        if not done:
            continue
        cells = [_spread([r.figures[f] for r in done if f in r.figures]) for f in figures + others]
        cpu = statistics.fmean(r.cpu_seconds for r in done)
        macs = f"{done[0].macs / 1e6:.0f}" if done[0].macs else ""
        rate = f"{own[0].rate:g}" if own[0].rate else ""  # what is only computed has none
        lines.append(
            f"| {name} | {' | '.join(cells)} | {rate} | {macs} | "
            f"{done[0].parameters or ''} | {cpu:.0f} |"
        )
    return lines


def _ran(jobs: Mapping[str, Sequence[Job]], rows: Mapping[Job, Row]) -> list[Row]:
    return [rows[job] for own in jobs.values() for job in own if job in rows]


def _spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation over the seeds."""
    if not values:
        return ""
    mean = statistics.fmean(values)
    return f"{mean:.1f} ± {statistics.stdev(values):.1f}" if len(values) > 1 else f"{mean:.2f}"
