"""What publishers ask of a PDF."""

from pathlib import Path


def assert_fonts_are_embedded(path: Path) -> None:
    """Every font is in the file, as TrueType."""
    written = path.read_bytes()
    assert written.startswith(b"%PDF"), path
    fonts = written.count(b"/Type /FontDescriptor")
    assert fonts == written.count(b"/FontFile2") > 0, path
    assert b"/Type3" not in written, path
