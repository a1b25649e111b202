"""Render evaluation results as terminal tables."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from reid_stream.console.output import Rows, count
from reid_stream.evaluation.budget import Budget
from reid_stream.evaluation.delay import Delay
from reid_stream.evaluation.run import EvalResult
from reid_stream.evaluation.score import Score
from reid_stream.evaluation.summary import Summary
from reid_stream.evaluation.sweep import Point

_SCORES = ("hota", "det_a", "ass_a", "ass_pr", "ass_re", "idf1")
_HEADS = ("HOTA", "DetA", "AssA", "AssPr", "AssRe", "IDF1")
_MOST_MIXED = 8
# Tables fit 80 columns, the width of a log or a pipe.


def show(figures: EvalResult, console: Console) -> None:
    """Print scores across and within cameras, identity errors, and the delay until the right ID."""
    views = (("as first published", figures.at_once), ("after corrections", figures.in_the_end))
    show_accounts(views, console)
    _show_delay(figures.delay, figures.in_the_end, console)
    rate = figures.frames / figures.seconds if figures.seconds else 0.0
    console.print(
        f"{count(figures.frames, 'frame')} of {count(len(figures.in_the_end.cameras), 'camera')} in "
        f"{figures.seconds:.1f} s "
        f"({rate:.1f} frames/s), {figures.events} events",
        highlight=False,
        style="dim",
    )


def show_accounts(views: Sequence[tuple[str, Summary]], console: Console) -> None:
    """Print scores and identity errors, one line per view."""
    table = _table("", *_HEADS)
    for where in ("across", "single"):
        one = views[0][1]
        mean = "" if where == "across" else f" (mean of {len(one.cameras)})"
        table.add_row(Text.assemble((f"{where if where == 'across' else 'within'} cameras", "bold"), mean))
        for name, account in views:
            table.add_row(name, *_scores(getattr(account, where)))
    if len(views[-1][1].cameras) > 1:
        for camera, score in views[-1][1].cameras.items():
            table.add_row(f"  {camera}", *_scores(score), style="dim")
    console.print(table)
    console.print()
    every = views[-1][1].people
    table = _table("people", "IDs", "each", "purity", "merged", "pairs", "unlinked", "swaps", "ghosts")
    for name, account in views:
        each = account.people
        counts = (each.wrong_merges, each.wrong_pairs, each.missed_links, each.switches, each.ghosts)
        table.add_row(
            name,
            str(each.identities),
            f"{each.fragmentation:.2f}",
            f"{each.purity:.3f}",
            *(str(count) for count in counts),
        )
    console.print(table)
    found = f"{every.visits - every.visits_unseen} of {every.visits} visits"
    console.print(
        f"of {every.people} people {every.found} found, in {found} with {every.links} links to make; each: IDs a"
        " person; merged: IDs of several people, pairs: of people mixed up",
        highlight=False,
        style="dim",
        soft_wrap=True,
    )
    if every.mixed:
        shown = [f"{name} is {' and '.join(people)}" for name, people in list(every.mixed.items())[:_MOST_MIXED]]
        more = len(every.mixed) - len(shown)
        console.print(
            f"merged: {'; '.join(shown)}{f'; {more} more' if more else ''}",
            highlight=False,
            style="dim",
            soft_wrap=True,
        )
    console.print()


def _show_delay(delay: Delay, account: Summary, console: Console) -> None:
    visits = account.people.visits
    shown = "never" if delay.told_p50_s is None else f"after {delay.told_p50_s:.1f} s (median)"
    right = (
        "never"
        if delay.right_p50_s is None or delay.right_p95_s is None
        else f"after {delay.right_p50_s:.1f} s (median), {delay.right_p95_s:.1f} s (p95)"
    )
    console.print(
        f"of {visits} visits: an ID {shown}, the right one {right}; "
        f"{delay.right_at_first} right with the first ID, {delay.right - delay.right_at_first} later, "
        f"{delay.never_right} never, {delay.untold} not published",
        highlight=False,
        soft_wrap=True,
    )


def show_budget(budget: Budget, console: Console) -> None:
    """Print the scores with each stage replaced by the truth, and the loss of each stage."""
    table = _table("error budget", "HOTA", "DetA", "AssPr", "AssRe", "IDF1", "IDF1 in a camera")
    for line in budget.lines:
        across = line.across
        values = (across.hota, across.det_a, across.ass_pr, across.ass_re, across.idf1, line.single.idf1)
        table.add_row(line.what, *(f"{value:.3f}" for value in values))
    console.print(table)
    first, *others = budget.losses
    text = Text.assemble(
        "largest loss: ",
        (first.stage, "bold"),
        f", {first.idf1:.3f} of IDF1 and {first.hota:.3f} of HOTA; then ",
        ", ".join(f"{loss.stage} {loss.idf1:.3f} / {loss.hota:.3f}" for loss in others),
    )
    console.print(text, soft_wrap=True)
    console.print()


def show_sweep(setting: str, points: Sequence[Point], console: Console) -> None:
    """Print one line per value, the best IDF1 in bold."""
    console.print(f"{setting}:", style="bold", highlight=False)
    table = _table("", "HOTA", "AssPr", "AssRe", "IDF1", "at once", "IDs", "merged", "unlinked", "right")
    best = max(points, key=lambda point: point.figures.in_the_end.across.idf1)
    for point in points:
        end, once, delay = point.figures.in_the_end, point.figures.at_once, point.figures.delay
        values = (end.across.hota, end.across.ass_pr, end.across.ass_re, end.across.idf1, once.across.idf1)
        counts = (end.people.identities, end.people.wrong_merges, end.people.missed_links)
        table.add_row(
            f"{point.value}{' (set)' if point.is_default else ''}",
            *(f"{value:.3f}" for value in values),
            *(str(count) for count in counts),
            "never" if delay.right_p50_s is None else f"{delay.right_p50_s:.1f} s",
            style="bold" if point is best else None,
        )
    console.print(table)
    console.print()


def _table(*heads: str) -> Rows:
    return Rows(*heads, right=heads[1:])


def _scores(score: Score) -> list[str]:
    return [f"{getattr(score, name):.3f}" for name in _SCORES]
