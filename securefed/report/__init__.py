"""What a run did, from the files it left: `config.toml` and `metrics.jsonl` become a table, plots and one page.

From left to right: `events` reads, `summary` counts, `outcome` says it in sentences, `table` shows it in a
terminal and as Markdown, `plots` draws it, `page` puts all of it into one `report.html`.
"""

from securefed.report.page import write_report
from securefed.report.table import terminal_table

__all__ = ["terminal_table", "write_report"]
