"""One self-contained HTML file a run: what was decided, on what evidence, and what became of every
row. It loads nothing, runs no row text, and can be sent to anyone.

    write_report(Path("runs/my-run"))  ->  runs/my-run/report.html

Not here: live progress, several runs side by side, and editing.
"""

from treadle.report.page import write_report

__all__ = ["write_report"]
