"""What was measured, as a table, as JSON and as a plot."""

import json
import os
import platform
from dataclasses import asdict, dataclass
from html import escape
from itertools import groupby
from pathlib import Path

HERE = Path(__file__).parent
WHOLE_FROM = 100
WIDTH, LABELS, BAR = 760, 150, 18
COLOURS = {
    "service": "#1f6feb",
    "floor": "#8b949e",
    "gthread": "#8250df",
    "Granian": "#cf222e",
    "FastAPI": "#2da44e",
    "Fastify": "#bf8700",
}


@dataclass(frozen=True)
class Result:
    """One figure of the service, beside a peer's where there is one, and its target."""

    work: str
    unit: str
    ours: float
    peer: str | None = None
    theirs: float | None = None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def ratio(self) -> float | None:
        """Return the service's figure over the peer's."""
        return self.ours / self.theirs if self.theirs else None

    @property
    def met(self) -> bool | None:
        """Say whether the target is reached; None where there is none."""
        compared = self.ours if self.ratio is None else self.ratio
        if self.at_least is not None:
            return compared >= self.at_least
        return compared <= self.at_most if self.at_most is not None else None

    def cells(self) -> tuple[str, ...]:
        """Return the columns of the table."""
        theirs = "" if self.theirs is None else f"{self.peer} {_short(self.theirs)}"
        target = ""
        if self.at_least is not None:
            target = f"≥ {self.at_least:g}"
        elif self.at_most is not None:
            target = f"≤ {self.at_most:g}"
        return (
            self.work,
            f"{_short(self.ours)} {self.unit}",
            theirs,
            "" if self.ratio is None else f"{self.ratio:.2f}",
            target,
            {True: "yes", False: "no", None: ""}[self.met],
        )


def _short(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= WHOLE_FROM else f"{figure:.2f}"


def write(results: list[Result]) -> None:
    """Print the table; leave it in results.json, and the plot in results.svg."""
    print(table(results))
    rows = [{**asdict(result), "ratio": result.ratio, "met": result.met} for result in results]
    machine = {"cores": os.cpu_count(), "python": platform.python_version()}
    text = json.dumps({"machine": machine, "results": rows}, indent=2, ensure_ascii=False)
    (HERE / "results.json").write_text(text + "\n")
    (HERE / "results.svg").write_text(plot(results))


def table(results: list[Result]) -> str:
    """Return the results as a table in Markdown."""
    head = ("work", "service", "peer", "ratio", "target", "met")
    rows = [head, *(result.cells() for result in results)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, tuple("-" * width for width in widths))
    lines = (" | ".join(map(str.ljust, row, widths)) for row in rows)
    return "\n".join(f"| {line} |" for line in lines)


def plot(results: list[Result]) -> str:
    """Return the requests a second of everyone as an SVG of bars."""
    parts: list[str] = []
    y = 10
    rates = (result for result in results if result.unit == "requests/s")
    for work, group in groupby(rates, key=lambda result: result.work):
        compared = list(group)
        bars = {"service": compared[0].ours}
        bars |= {str(result.peer): result.theirs or 0 for result in compared}
        y += 24
        parts.append(f'<text x="10" y="{y}" font-weight="bold">{escape(work)}, requests/s</text>')
        y += 8
        for name, rate in bars.items():
            length = (WIDTH - LABELS - 80) * rate / max(bars.values())
            parts.append(
                f'<text x="{LABELS - 8}" y="{y + 13}" text-anchor="end">{name}</text>'
                f'<rect x="{LABELS}" y="{y}" width="{length:.0f}" height="{BAR - 4}" '
                f'fill="{COLOURS[name]}"/>'
                f'<text x="{LABELS + length + 6:.0f}" y="{y + 12}">{rate:,.0f}</text>'
            )
            y += BAR
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 16}" '
        f'font-family="sans-serif" font-size="13">'
        f'<rect width="100%" height="100%" fill="#ffffff"/>{"".join(parts)}</svg>\n'
    )
