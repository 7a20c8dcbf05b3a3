"""Prints the options of zchttpd as Markdown, for docs/options.md."""

from __future__ import annotations

from zchttpd.config.options import Group, flag_of, variable_of
from zchttpd.config.settings import OPTIONS, default_text


def docs_table() -> str:
    """All options as Markdown tables, one for each group."""
    lines: list[str] = []
    for group in Group:
        lines += [
            f"### {group.value}",
            "",
            "| Option | Environment | Default | What it does |",
            "|---|---|---|---|",
        ]
        for name, option in OPTIONS.items():
            if option.group is group:
                value = "\\|".join(option.choices) if option.choices else option.metavar.replace("|", "\\|")
                unit = f" ({option.unit})" if option.unit else ""
                cells = (
                    f"`{flag_of(name)} {value}`".replace(" `", "`"),
                    f"`{variable_of(name)}`",
                    default_text(name),
                    option.help + unit,
                )
                lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    print(docs_table())
