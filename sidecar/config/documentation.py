"""The table in `docs/configuration.md`, from the code."""

from sidecar.config.settings import Config, variable


def configuration_table() -> str:
    """A Markdown table with every variable, its default and its meaning."""
    rows = ["| Variable | Default | Meaning |", "| --- | --- | --- |"]
    for name, field in Config.model_fields.items():
        extra = field.json_schema_extra
        default = extra.get("default") if isinstance(extra, dict) else None
        if field.is_required():
            default = "*required*"
        elif default is None:
            default = f"`{field.default}`" if field.default is not None else "-"
        rows.append(f"| `{variable(name)}` | {default} | {field.description} |")
    return "\n".join(rows) + "\n"
