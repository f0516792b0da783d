"""An answer in words: what a reader has to know about labels, votes, sets and what is unlike; for the terminal and the page."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from medclip.diagnosis.abstention import least_probability
from medclip.diagnosis.novelty import LEVEL
from medclip.diagnosis.sets import COVERAGE
from medclip.label_sets import PRESENT, family_of

if TYPE_CHECKING:
    from medclip.assistant.answer import Answer, SimilarCase
    from medclip.assistant.asking import Capability
    from medclip.diagnosis.label_answer import LabelAnswer
    from medclip.diagnosis.sets import Kind

__all__ = [
    "MOST_MEMBERS",
    "caveats",
    "confirmed_and_treated",
    "decided",
    "families",
    "family_caveats",
    "present",
    "promise",
    "refined",
    "ruled_out",
    "sets_hold",
    "share",
    "shown_labels",
    "unlike",
    "voted",
    "votes",
]


MOST_MEMBERS = 8
"""Of a multi-label set, so many classes are shown, the most probable ones."""


def share(value: float | None) -> str:
    """A probability for a reader: none is certain."""
    if value is None:
        return "-"
    return ">0.99" if value > 0.99 else "<0.01" if value < 0.01 else f"{value:.2f}"


def unlike(given: "Answer") -> str | None:
    """That the archive holds nothing like the query, and what of it; None where it does, or where it cannot be told."""
    if given.novelty is None or given.novelty.verdict == "not told apart":
        return None
    parts = sorted((one for one in given.novelty.parts if one.p < LEVEL), key=lambda one: one.p)
    told = [
        f"{'the ' + one.part if one.scan is None else f'scan {one.scan}'} ({_part(one.p)} of the archive's are as unlike"
        f"{f'; it seems to be {one.lies}' if one.lies else ''})"
        for one in parts
    ]
    return (
        f"Probably nothing like this is in the archive: {', '.join(told)}; by chance one in twenty ordinary queries is called "
        "so. No label is named, since what was measured on archived patients may not hold here; the cases shown are the least "
        "unlike."
    )


def refined(given: "Answer") -> list[str]:
    """What was refined about the query, and on what it bears; nothing where nothing was."""
    made = given.refined
    if made is None:
        return []
    found = (
        [f"asked without the {' and the '.join(made.without)}: all of the answer is to the rest"]
        if made.without
        else []
    )
    shown = []
    if made.region is not None:
        at = f"scan {made.region.scan}{'' if made.region.slice is None else f', slice {made.region.slice}'}"
        box = ", ".join(f"{one:g}" for one in made.region.box)
        shown.append(f"searched by a region of {at} ({box})")
    told = (("drawn to", made.like), ("away from", made.unlike))
    shown += [f"{how} {', '.join(ids)}" for how, ids in told if ids]
    if made.distinct:
        hidden = ", ".join(f"{one.case_id} (looks like {one.of})" for one in made.copies) or "none"
        shown.append(f"near-duplicates hidden: {f'{len(made.copies)}, ' if made.copies else ''}{hidden}")
    if shown:
        found.append(f"cases shown: {'; '.join(shown)}. Who votes, and so every label, is not moved by that.")
    return found


def _part(p: float) -> str:
    return "less than 1 %" if p < 0.01 else f"{100 * p:.0f} %"


def caveats(found: "LabelAnswer") -> list[str]:
    """What a reader has to know about one label answer."""
    notes = [_stated(found)]
    if found.ranked[0].probe is None:
        notes.append(
            "by the vote alone: the archive's statistics may have been fitted on this patient and are not asked"
        )
    if not found.agree:
        notes.append("similar cases and the archive's statistics disagree")
    if found.answer is None:
        notes.append(f"the answer is withheld: {_withheld(found)}")
    return notes


def _withheld(found: "LabelAnswer") -> str:
    said = f"no class reaches probability {least_probability(len(found.ranked)):.2f}"
    if found.set is None or found.set.empty:
        return said
    return f"{said}, and {len(found.set.labels)} of them cannot be ruled out at {_percent(found.set.coverage)}"


def _percent(coverage: float) -> str:
    return f"{100 * coverage:.6g}%"


_WHOSE: dict["Kind", str] = {
    "class-conditional": "of each class",
    "marginal": "of all classes together",
    "mixed": "of each class, the rare ones taken together",
}


def ruled_out(found: "LabelAnswer") -> str:
    """The set of labels in a few words; `promise` says for whom it holds."""
    given = found.set
    if given is None:
        return "no class can be ruled out: too few patients were left out to tell"
    if given.empty:
        return "perhaps none of these"
    if len(given.labels) == len(found.ranked):
        return "no class can be ruled out"
    return f"{given.labels[0]}, all others ruled out" if len(given.labels) == 1 else f"one of {', '.join(given.labels)}"


def promise(found: "LabelAnswer") -> str:
    """Which labels may be right, and for how many new patients that holds."""
    given = found.set
    if given is None:
        return "no class can be ruled out for so many: too few patients could be left out"
    low, high = given.interval
    most = f"{'at least ' if low >= given.coverage else ''}{_percent(given.coverage)}"
    holds = f"{most} of new patients {_WHOSE[given.kind]} (of all together {low:.0%} to {high:.0%}, by {given.patients} left out)"
    if given.empty:
        return f"no class is as probable as the right one is for {holds}: perhaps it is none of them"
    if len(given.labels) == len(found.ranked):
        return f"no class can be ruled out so that it holds for {holds}"
    if len(given.labels) == 1:
        return f"{given.labels[0]}, all others ruled out: such a statement holds for {holds}"
    return f"one of {', '.join(given.labels)}: such a statement holds for {holds}"


def decided(member: "LabelAnswer") -> str | None:
    """Of a class of a multi-label set: the answer, or None where it is withheld or the other one cannot be ruled out."""
    return None if member.set is not None and len(member.set.labels) > 1 else member.answer


def _stated(found: "LabelAnswer") -> str:
    if found.held_out_accuracy is None or found.held_out_interval is None:
        return (
            f"how often such answers are right is not known: only {found.held_out_patients} patients could be left out"
        )
    low, high = found.held_out_interval
    said = (
        f"asked with as much, right for {found.held_out_accuracy:.0%} of {found.held_out_patients} archived patients left out "
        f"({low:.0%} to {high:.0%}; always {found.commonest_class}: {found.commonest_share:.0%})"
    )
    if (alike := found.held_out_alike) is not None:
        said += f"; where as sure as this, for {alike.right:.0%} of {alike.patients}"
    return said


def voted(found: "LabelAnswer") -> str:
    """What each class has of the vote, and from how many; who they are, JSON and page say."""
    shares: dict[str, list[float]] = {}
    for voter in found.voters:
        shares.setdefault(voter.label, []).append(voter.share)
    classes = sorted(shares.items(), key=lambda one: -sum(one[1]))
    told = ", ".join(f"{len(own)} for {label} ({sum(own):.0%})" for label, own in classes)
    return f"voted: {told}; the archive's frequencies {found.archive_share:.0%}"


def votes(found: "LabelAnswer") -> list[tuple[str, str, float]]:
    """(who, for which class, share) of a vote; the shares sum to 1."""
    own = [(voter.case_id, voter.label, voter.share) for voter in found.voters]
    return [*own, ("the archive's frequencies", "", found.archive_share)]


def sets_hold(capability: "Capability") -> list[str]:
    """Of how many patients 90 % sets hold the right label, and by whom each class is ruled out; a line for what is alike."""
    alike: dict[str, list[str]] = {}
    for name, judged in capability.sets.items():
        told = "nothing: too few patients could be left out to rule a class out"
        if judged.interval is not None:
            low, high = judged.interval
            groups = [", ".join(f"{label} {count:.0f}" for label, count in one.items()) for one in judged.together]
            itself = [one for one, of in zip(groups, judged.together, strict=True) if len(of) == 1]
            rest = [one for one, of in zip(groups, judged.together, strict=True) if len(of) > 1]
            by = "; ".join(
                [*([f"each by itself {', '.join(itself)}"] if itself else []), *(f"together {one}" for one in rest)]
            )
            told = f"the right class of {low:.0%} to {high:.0%} of patients, judged {by}"
        alike.setdefault(told, []).append(name)
    asked = {
        told: "whatever is asked with" if len(own) == len(capability.sets) else f"asked with {', '.join(own)}"
        for told, own in alike.items()
    }
    return [f"sets of labels at {_percent(COVERAGE)} hold {told} ({by})" for told, by in asked.items()]


def families(given: "Answer") -> dict[str, list["LabelAnswer"]]:
    """Multi-label set → the answers on its classes, the most probable first."""
    found: dict[str, list[LabelAnswer]] = {}
    for one in given.labels:
        if (family := family_of(one.label_set)) is not None:
            found.setdefault(family, []).append(one)
    return {family: sorted(members, key=lambda m: (-present(m), m.label_set)) for family, members in found.items()}


def present(member: "LabelAnswer") -> float:
    """Probability that a class of a multi-label set is present."""
    return next((ranked.probability for ranked in member.ranked if ranked.label == PRESENT), 0.0)


def family_caveats(members: Sequence["LabelAnswer"]) -> list[str]:
    """What a reader has to know about the answers on a multi-label set."""
    known = [m.held_out_accuracy for m in members if m.held_out_accuracy is not None]
    patients = min(m.held_out_patients for m in members)
    notes = [f"how often such answers are right is not known: only {patients} patients could be left out"]
    if known:
        on = f"of archived patients left out ({min(m.held_out_patients for m in members if m.held_out_accuracy)} or more)"
        notes = [f"such answers were right for {min(known):.0%} to {max(known):.0%} {on}"]
    if promised := [m.set for m in members if m.set is not None]:
        each = sum(one.kind == "class-conditional" for one in promised)
        of = "of those who have a finding and of those who do not"
        notes.append(
            f"present or absent is said where the other can be ruled out, undecided where neither can: that holds for "
            f"{_percent(promised[0].coverage)} of new patients, for {each} of {len(members)} classes {of}, each by themselves"
        )
    if not all(member.verified for member in members):
        notes.append("the archive's labels were read from its reports by a program: not verified")
    return notes


def shown_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """A case's labels as a reader wants them: of multi-label sets, those that are present."""
    own = {name: value for name, value in labels.items() if family_of(name) is None}
    several: dict[str, list[str]] = {}
    for name, value in sorted(labels.items()):
        if value == PRESENT and (family := family_of(name)) is not None:
            several.setdefault(family, []).append(name.partition("/")[2])
    return own | {family: ", ".join(names) for family, names in several.items()}


def confirmed_and_treated(given: "Answer") -> list["SimilarCase"]:
    """The similar cases whose diagnosis was confirmed and whose treatment is told; none where they are unlike the query."""
    if unlike(given) is not None:
        return []
    return [case for case in given.similar if case.diagnosis and case.confirmed_by and case.treatment]
