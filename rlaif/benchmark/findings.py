"""A table of bench.json in words: which judge is best and how sure that is, and what stands out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rlaif.core.records.bench import BenchTable, BestOf, JudgeComparison
from rlaif.core.records.bench_entry import TableEntry
from rlaif.core.records.record import ABSENT

MEASURES = {"auroc": "AUROC", "pairwise_accuracy": "pairwise accuracy", "spearman": "Spearman correlation"}

FOLLOWS_LENGTH, WORST_GROUPS, SEVERAL = 0.2, 3, 10
"""A rank correlation with length that is worth a line; groups that are named, and good texts that such a one has."""


def answer(table: BenchTable) -> list[str]:
    """
    Say which judge is best, by how much, and whether that is more than chance, the most important sentence first.

    Only what a test shows is called a difference; its p-value is corrected for the number of comparisons.
    """
    entries, measure = table.judges, table.measure
    judges = [name for name in table.ranking if not entries[name].baseline and entries[name].main(measure)]
    if not judges:
        return ["No judge can be ranked: none has scores that could be right or wrong"]
    best, *others = judges
    said = _compare_judges(table, best, others)
    said = [*_baseline_warnings(table, best), *said, *_beats_baselines(table, best)]
    coverage = entries[best].coverage
    if coverage is not None and coverage < 1:
        said.append(f"{best} has no score of {100 * (1 - coverage):.1f} % of the texts, which are in no number")
    unranked = [name for name, entry in entries.items() if not entry.baseline and name not in judges]
    return [*said, *(f"{name} cannot be ranked: it has too few scores" for name in unranked)]


def _compare_judges(table: BenchTable, best: str, others: Sequence[str]) -> list[str]:
    """Say what the best judge is worth, and what the others are beside it."""
    told = table.judges[best].main(table.measure)
    assert told is not None, "who has no number is in no ranking"
    interval = f" ({told.ci95[0]:.3f} to {told.ci95[1]:.3f})" if told.ci95 else ""
    what, size = MEASURES[table.measure], f"{told.value:.3f}{interval}"
    if not others:
        return [f"{best} agrees with people: {what} {size}"]
    compared = _comparisons_of(table.comparisons, best)
    equal = [name for name in others if name not in compared or not _beats(compared[name], best)]
    if not equal:
        one = compared[others[0]]
        return [f"{best} is the best judge, ahead of {others[0]} by {evidence(one)}", f"Its {what} is {size}"]
    how = f": a difference of {evidence(compared[equal[0]])}" if len(equal) == 1 and equal[0] in compared else ""
    second = table.judges[others[0]].main(table.measure)
    ahead = "is ahead, but " if second and told.value > second.value else ""
    return [f"{best} {ahead}is not shown to be better than {_join_names(equal)}{how}", f"Its {what} is {size}"]


def _baseline_warnings(table: BenchTable, best: str) -> Iterator[str]:
    """Say what comes before all else: that the best judge is worth no more than what costs nothing."""
    compared = _comparisons_of(table.against_baselines, best)
    better = [name for name, one in compared.items() if _beats(one, name)]
    equal = [name for name, one in compared.items() if not one.different]
    if better:
        yield f"No judge is worth a baseline: the best, {best}, is worse than {_join_names(better)}"
    if equal:
        whose = "It" if better else f"The best judge, {best},"
        yield f"{whose} is not shown to be better than the baseline{'s' * (len(equal) > 1)} {_join_names(equal)}"


def _beats_baselines(table: BenchTable, best: str) -> Iterator[str]:
    compared = _comparisons_of(table.against_baselines, best)
    if compared and all(_beats(one, best) for one in compared.values()):
        yield f"{best} beats every baseline: {_join_names(list(compared))}"


def _comparisons_of(comparisons: Sequence[JudgeComparison], name: str) -> dict[str, JudgeComparison]:
    """Return the comparisons of a judge, by the other one's name."""
    return {one.b if one.a == name else one.a: one for one in comparisons if name in (one.a, one.b)}


def _beats(one: JudgeComparison, name: str) -> bool:
    return bool(one.different) and one.a == name


def _join_names(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def compare_baselines(table: BenchTable) -> Iterator[str]:
    """Say which judges do not beat which baselines."""
    judges = {name: entry for name, entry in table.judges.items() if not entry.baseline}
    for one in table.against_baselines:
        judge, baseline = (one.a, one.b) if one.a in judges else (one.b, one.a)
        if not one.different:
            yield f"{judge} does not beat the baseline {baseline}: difference {evidence(one)}"
        elif one.a == baseline:
            yield f"the baseline {baseline} beats {judge} by {evidence(one)}"


def findings(table: BenchTable) -> Iterator[str]:
    """Say what stands out of each judge: what its scores follow instead of what people said."""
    judges = {name: entry for name, entry in table.judges.items() if not entry.baseline}
    for name, entry in judges.items():
        if entry.length_bias is not None and abs(entry.length_bias) >= FOLLOWS_LENGTH:
            which = "longer" if entry.length_bias > 0 else "shorter"
            yield f"{name} likes {which} texts: rank correlation {entry.length_bias:.2f} at equal label"
        yield from _group_findings(name, entry)
        yield from _retest_findings(name, entry)
        yield from _probe_findings(name, entry)


def abstentions(table: BenchTable) -> Iterator[str]:
    """Say of each judge on how many texts it abstained, and why."""
    for name, entry in table.judges.items():
        statuses = {status: count for status, count in entry.statuses.items() if status != "ok"}
        if statuses and not entry.baseline:
            listed = ", ".join(f"{count} {status}" for status, count in statuses.items())
            yield f"{name}: {listed} of {sum(entry.statuses.values())} texts"


def comparison(one: JudgeComparison) -> str:
    """Say which of two judges is better, if that is shown."""
    if one.different:
        return f"{one.a} beats {one.b} by {evidence(one)}"
    return f"no difference is shown between {one.a} and {one.b}: {evidence(one)}"


def evidence(one: JudgeComparison) -> str:
    """Write a difference with its interval and the p-value that is corrected for the number of comparisons."""
    interval = f" ({one.ci95[0]:.3f} to {one.ci95[1]:.3f})" if one.ci95 else ""
    p = one.p_adjusted
    shown = "unknown" if p is None else "< 0.001" if p < 0.001 else f"= {p:.2g}"
    return f"{one.difference:.3f}{interval}, p {shown}"


def _group_findings(name: str, entry: TableEntry) -> Iterator[str]:
    for column, groups in (entry.groups or {}).items():
        wrong = {
            group: of.good_called_bad
            for group, of in groups.items()
            if of.good_called_bad is not ABSENT and of.good_called_bad and of.good is not ABSENT and of.good >= SEVERAL
        }
        if wrong:
            worst = sorted(wrong, key=lambda group: -wrong[group])[:WORST_GROUPS]
            listed = ", ".join(f"{group or '(none)'} {100 * wrong[group]:.0f} %" for group in worst)
            yield f"{name} calls good texts bad most often where {column} is: {listed}"


def _retest_findings(name: str, entry: TableEntry) -> Iterator[str]:
    if entry.retest_sd is not None:
        flips = "" if entry.flip_rate is None else f", {100 * entry.flip_rate:.1f} % of verdicts turn"
        signal = entry.signal_to_noise
        spread = "" if signal is None else f"; scores of one prompt's answers spread {signal:.1f} times as far"
        yield f"{name}, asked again: scores move by {entry.retest_sd:.3f} (standard deviation){flips}{spread}"


def _probe_findings(name: str, entry: TableEntry) -> Iterator[str]:
    if entry.injection is None:
        return
    planted, control = entry.injection["all"], entry.injection["control"]
    if planted.gained is not None:
        yield (
            f"{name}: {100 * planted.gained:.0f} % of bad texts gain from planted instructions, "
            f"{100 * (control.gained or 0):.0f} % from a harmless sentence"
        )
    for probe, of in (entry.degenerate or {}).items():
        if of.outscores is not None and of.outscores > 0.5:
            yield (f"{name} scores {probe} at {of.mean_score:.2f}, above {100 * of.outscores:.0f} % of the texts")


def best_of(told: BestOf | None) -> Iterator[str]:
    """Say what picking the best of n completions does to the scores of other judges."""
    if told is None:
        return
    yield f"best of {told.n} completions of {told.policy}, {told.prompts} prompts, mean scores"
    for picker, curves in told.curves.items():
        for scorer, curve in curves.items():
            if curve.mean:
                ends = f"{curve.mean[0]:.3f} at n = 1, {curve.mean[-1]:.3f} at n = {len(curve.mean)}"
                turn = f"; turns down at n = {curve.turns_down_at}" if curve.turns_down_at else ""
                yield f"  picked by {picker}, scored by {scorer}: {ends}{turn}"
