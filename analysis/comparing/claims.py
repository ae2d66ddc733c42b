"""The claims ledger: what the data say of each claim of the paper.

The paper is Koster & Kukla 2024 (arXiv 2409.17300). A claim is an entry of `CLAIMS`:
its text, a sentence that says how it is judged, and the function that judges it. To add
a claim, write a function in `analysis.comparing.rules` and add an entry.

A claim is judged on each stream of tasks that has the settings of the claim. A stream
can differ from the stream of the study `paper`, for example in the batch size. Then the
column setup says how, because the verdict is about that stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pandas as pd

from analysis.comparing import rules
from analysis.comparing.chance import at_chance
from analysis.comparing.compare import MARGIN
from analysis.comparing.evidence import (
    UNDECIDED,
    UNDEFINED,
    UNMEASURED,
    Decision,
    Statement,
    decide,
)
from analysis.comparing.rules import MEASURE_ALL, SIMILAR, UNRELATED
from analysis.comparing.streams import METHODS, Stream, split_streams
from analysis.comparing.verdicts import LOWER

COLUMNS = ("test_accuracy", "sharpness", "start_sharpness")
"""The measures of the records that the claims need."""

BETWEEN = "; "
"""The separator of the numbers of a claim in the column evidence."""


@attrs.frozen(kw_only=True)
class Claim:
    """A claim of the paper, and how the data judge it."""

    id: str
    text: str  # the claim, mostly in the words of the paper
    section: str  # the section of the paper that makes the claim
    how: str  # a sentence: how the claim is judged, or why data cannot judge it
    judge: Callable[[Stream], Statement] | None = None  # the rule, if data can judge
    problems: tuple[str, ...] = ("permuted", "pairwise")
    needs: tuple[str, ...] = METHODS  # the optimizers that the rule needs
    rates: int = 1  # how many learning rates of each optimizer the rule needs


_POINTS = f"{100 * MARGIN:g} points"
_NOT_LOWER = (
    "An equal or smaller loss counts only if the late accuracy is shown not to be "
    "lower."
)

CLAIMS: dict[str, Claim] = {
    claim.id: claim
    for claim in (
        Claim(
            id="C1",
            text="sharpness regularization has no significant effect on plasticity "
            "loss",
            section="abstract",
            how="Supported if every difference in plasticity loss between SAM or GNP "
            "and SGD with the same learning rate is shown to be within "
            f"± {_POINTS} (TOST); contradicted if one difference is significant after "
            f"Holm's correction, in either direction. {_NOT_LOWER}",
            judge=rules.no_effect,
        ),
        Claim(
            id="C2",
            text="sharpness regularization may worsen plasticity loss",
            section="4",
            how="Supported if SAM or GNP loses significantly more plasticity than SGD "
            "with some learning rate, after Holm's correction; contradicted if every "
            f"such difference is shown to be below {_POINTS}. {_NOT_LOWER}",
            judge=rules.may_worsen,
        ),
        Claim(
            id="C3",
            text="SGD has a slight positive change with one learning rate",
            section="4",
            how="Supported if the change of accuracy of at least one SGD setting is "
            "significantly above 0, after Holm's correction; contradicted if every "
            "change is significantly below 0.",
            judge=rules.one_rises,
            problems=("permuted",),
            needs=("sgd",),
            rates=2,
        ),
        Claim(
            id="C4",
            text="SAM and GNP with higher learning rates decline noticeably",
            section="4",
            how="Supported if SAM and GNP with their largest learning rate are both "
            f"shown to fall by more than {_POINTS} over the stream; contradicted if "
            "one of them is shown to fall by less than this, or to rise.",
            judge=rules.fast_ones_decline,
            problems=("permuted",),
            needs=("sam", "gnp"),
            rates=2,
        ),
        Claim(
            id="C5a",
            text="the change of SGD is near zero",
            section="4",
            how="Supported if the change of every SGD setting is shown to be within "
            f"± {_POINTS} (TOST); contradicted if the change of one setting is shown "
            "to be outside of this range.",
            judge=rules.sgd_stays,
            problems=("pairwise",),
            needs=("sgd",),
        ),
        Claim(
            id="C5b",
            text="SAM declines significantly",
            section="4",
            how="Supported if the change of every SAM setting is significantly below "
            f"0; contradicted if one of these changes is shown to be a fall by less "
            f"than {_POINTS}, or a rise.",
            judge=rules.sam_declines,
            problems=("pairwise",),
            needs=("sam",),
        ),
        Claim(
            id="C5c",
            text="GNP is the most effective",
            section="4",
            how="Supported if, with every learning rate, the change of GNP is "
            "significantly above the changes of SGD and SAM with the same rate; "
            "contradicted if one of these differences is shown to be below "
            f"{_POINTS}. A better change counts only if the late accuracy of GNP is "
            "shown not to be lower.",
            judge=rules.gnp_leads,
            problems=("pairwise",),
        ),
        Claim(
            id="C6",
            text="all methods have similar accuracy over 100 tasks",
            section="4",
            how="Supported if every difference in mean accuracy between two methods "
            f"with the same learning rate is shown to be within ± {100 * SIMILAR:g} "
            "point (TOST); contradicted if one difference is shown to be outside "
            "of this range, after Holm's correction.",
            judge=rules.similar_accuracy,
            problems=("permuted",),
        ),
        Claim(
            id="C7",
            text="the largest Hessian eigenvalue increases over tasks",
            section="1, after Lyle et al. 2023",
            how="Supported if the logarithm of sharpness rises significantly along the "
            "stream in every SGD setting; contradicted if the rise in one setting is "
            "shown to be below 10% over the stream.",
            judge=rules.sharpness_grows,
            needs=("sgd",),
        ),
        Claim(
            id="C8",
            text="a flat minimum of task A transfers better to task B",
            section="1",
            how="Records with --look-back show how much of task A is kept, not how "
            "well task B is learned. C12 shows whether sharpness before a task "
            "predicts the accuracy on it.",
        ),
        Claim(
            id="C9",
            text="the first to apply sharpness regularization to continual learning",
            section="2.2",
            how="This is a question of dates. PLASTIC (arXiv 2306.10711, June 2023) "
            "used SAM against loss of plasticity earlier.",
        ),
        Claim(
            id="C10",
            text="loss of plasticity is caused by inactive units, weight norm and low "
            "rank",
            section="2.2",
            how="This is a summary of the literature. The study remedies changes these "
            "quantities, but each of its methods changes more than one quantity.",
        ),
        Claim(
            id="C12",
            text="sharpness is not a cause of loss of plasticity",
            section="4.1",
            how="The data only show whether sharpness predicts accuracy. Supported, in "
            "this sense, if the correlation of sharpness before a task with the "
            "accuracy on it, within runs and without a smooth trend, is shown to be "
            f"within ± {UNRELATED:g}; never contradicted, because a measure can "
            "predict the accuracy without being its cause.",
            judge=rules.sharpness_predicts_nothing,
            needs=("sgd",),
        ),
        Claim(
            id="C13",
            text="permuted MNIST may not be an adequate example",
            section="4.1",
            how="This is an opinion on what a benchmark should show.",
        ),
    )
}
"""The claims, by id."""


def claims(frame: pd.DataFrame, results: str = "results") -> pd.DataFrame:
    """Judge the claims of the paper by the data; return a row per claim and problem.

    If the results have several streams of a problem, a claim has a row for each stream
    that measured it. Claims that data cannot judge have no row. `frame` has records
    with `analysis.records.runs.NEEDED` and `COLUMNS`, and the commands read `results`.

    Returns:
        One row per claim and problem, with the columns

            claim, text, section, how   as in `Claim`
            study, problem
            setup       how the stream differs from the stream of the study `paper`;
                        null if the results do not have the problem
            verdict     supported, contradicted, undecided or "not measured"
            by_slope    the verdict if the slope measures the change of accuracy; null
                        if the claim is not about a change
            subject     what the deciding number describes, for example a setting
            note        what the comparison shows about the deciding number
            n           the number of seeds
            value, lo, hi, unit     the deciding number, its 95% interval, their unit
            p           the p-value of the deciding test, corrected if the rule has
                        Holm's correction
            tests       the number of tests that are corrected together
            detectable  the smallest true difference that the test finds with a
                        probability of 80%, in the unit
            evidence    all numbers of the claim, separated by `BETWEEN`
            command     the command that prints the number, or that measures it if the
                        verdict is "not measured"
    """
    streams = list(split_streams(frame, results))
    rows = []
    for claim in CLAIMS.values():
        if claim.judge is None:
            continue
        for problem in claim.problems:
            own = [_row(claim, s) for s in streams if s.problem == problem]
            measured = [row for row in own if row["verdict"] != UNMEASURED]
            unmeasured = _describe(claim, problem, Decision(UNMEASURED))
            rows += measured or own[:1] or [unmeasured | {"command": MEASURE_ALL}]
    return pd.DataFrame(rows)


def _row(claim: Claim, stream: Stream) -> dict[str, Any]:
    """Return the row of a claim on one stream."""
    statement, learned_nothing = Statement(missing=MEASURE_ALL), [False]
    assert claim.judge is not None
    if all(len(stream.rates(name)) >= claim.rates for name in claim.needs):
        statement = claim.judge(stream)
        learned_nothing = [at_chance(runs) for runs in stream.settings]
    decision = decide(statement)
    untestable = bool(statement.numbers) and decision.number is None
    if all(learned_nothing) or (any(learned_nothing) and untestable):
        # The claim was measured, but networks at chance decide nothing.
        decision = Decision(UNDECIDED)
    row = _describe(claim, stream.problem, decision)
    row |= {"study": stream.study, "setup": stream.setup}
    row["evidence"] = BETWEEN.join(_sentences(statement, decision))
    row["by_slope"] = statement.by_slope or None
    if all(learned_nothing):
        row["note"] = "no network learned more than chance"
    if decision.verdict == UNMEASURED:
        row["command"] = MEASURE_ALL if statement.numbers else statement.missing
    return row


def _describe(claim: Claim, problem: str, decision: Decision) -> dict[str, Any]:
    number = decision.number
    value, lo, hi = number.interval if number else (UNDEFINED,) * 3
    return {
        "claim": claim.id,
        "text": claim.text,
        "section": claim.section,
        "how": claim.how,
        "study": None,
        "problem": problem,
        "setup": None,
        "verdict": decision.verdict,
        "by_slope": None,
        "subject": number and number.subject,
        "note": number and number.note,
        "n": number.n if number else 0,
        "value": value,
        "lo": lo,
        "hi": hi,
        "unit": number and number.unit.name,
        "p": decision.p,
        "tests": decision.tests,
        "detectable": number.detectable(decision.tests) if number else UNDEFINED,
        "evidence": "",
        "command": number.command if number else "",
    }


def _sentences(statement: Statement, decision: Decision) -> Iterator[str]:
    """Yield what an undecided test would have found, each number, and the notes."""
    number = decision.number
    if decision.verdict == UNDECIDED and number and number.note not in LOWER:
        say = number.unit.size.format
        yield (
            f"undecided does not mean equal: for {number.subject}, a difference of "
            f"{say(number.detectable(decision.tests))} would have been found with a "
            "probability of 80%"
        )
        if statement.same:
            bound = max(n.bound for n in statement.numbers if n.tested)
            yield f"differences are only shown to be within ± {say(bound)}"
    for number in statement.numbers:
        parts = [f"{number.subject}: {number.text} {number.unit.name}", number.note]
        parts += [number.untested and f"not tested: {number.untested}"]
        yield ", ".join(filter(None, parts))
    yield from statement.notes
