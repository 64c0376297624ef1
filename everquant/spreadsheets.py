"""What spreadsheets make of CSV."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_text(cell: str) -> str:
    """With an apostrophe where a spreadsheet would take it for a formula, and do as it says."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
