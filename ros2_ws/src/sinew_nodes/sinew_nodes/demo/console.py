"""What the demo shows while it runs and when it ends; plain lines where the console is no terminal."""

from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.table import Table


@dataclass
class Step:
    t_s: float
    stage: str
    removed: int
    failed: int
    detail: str


@dataclass
class RunView:
    """Collects the steps of a run; redraws itself on a terminal, prints each line elsewhere."""

    objects: int
    console: Console = field(default_factory=Console)
    steps: list[Step] = field(default_factory=list)
    _live: Live | None = None

    def __enter__(self) -> "RunView":
        if self.console.is_terminal:
            self._live = Live(self._panel(), console=self.console, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.update(self._panel())
            self._live.stop()
            self._live = None

    def step(self, step: Step) -> None:
        self.steps.append(step)
        if self._live is not None:
            self._live.update(self._panel())
        else:
            self.console.print(_line(step), highlight=False)

    def _panel(self) -> Panel:
        removed = self.steps[-1].removed if self.steps else 0
        bar = "█" * removed + "░" * max(0, self.objects - removed)
        lines = [_line(s) for s in self.steps[-10:]]
        return Panel(
            "\n".join([f"{bar}  {removed} of {self.objects} objects in the bin", "", *lines]), title="sinew"
        )


def closing_table(rows: list[tuple[str, str]], title: str) -> Table:
    table = Table(title=title, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in rows:
        table.add_row(name, value)
    return table


def _line(step: Step) -> str:
    counts = f"{step.removed} removed, {step.failed} failed"
    return f"{step.t_s:6.1f} s  {step.stage:<9} {counts}" + (f"  {step.detail}" if step.detail else "")
