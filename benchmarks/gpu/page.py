"""The page of figures, in Markdown."""

from collections.abc import Sequence

from benchmarks.gpu.report import Finding
from benchmarks.gpu.runner import Outcome

_PREFIXES = {"figure": "- ", "holds": "- holds: ", "fails": "- **FAILS**: ", "unchecked": "- not checked: "}


def render(command: str, device: str, packages: Sequence[str], outcomes: Sequence[Outcome]) -> str:
    """The page; of a run that has not ended, what there is so far."""
    seconds = sum(outcome.seconds for outcome in outcomes)
    lines = ["# A GPU, checked", "", f"`{command}` on {device}: {seconds:.0f} s.", "", *_summary(outcomes), ""]
    lines += ["## Packages", "", *(f"- {line}" for line in packages), ""]
    for outcome in outcomes:
        ended = f" ({outcome.reason})" if outcome.reason else ""
        lines += [
            f"## {outcome.section.title}",
            "",
            f"{outcome.state.capitalize()}, {outcome.seconds:.0f} s{ended}.",
            "",
        ]
        lines += [line for finding in outcome.findings for line in _lines(finding)]
        lines.append("")
    return "\n".join(lines)


def _summary(outcomes: Sequence[Outcome]) -> list[str]:
    rows = []
    for outcome in outcomes:
        first = [f.text.splitlines()[0] for f in outcome.findings if f.kind in ("fails", "unchecked")]
        said = "; ".join([outcome.reason] * bool(outcome.reason) + first)
        rows.append(f"| {outcome.section.title} | {outcome.state} | {outcome.seconds:.0f} | {said} |")
    return ["| section | | seconds | |", "|---|---|---|---|", *rows]


def _lines(finding: Finding) -> list[str]:
    if finding.kind == "block":
        return ["", finding.text, ""]
    return [_PREFIXES[finding.kind] + finding.text]
