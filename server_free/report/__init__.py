"""Reports: what runs say, as one HTML page and as PNG files.

:func:`write_report` makes the page and :func:`write_pngs` the pictures. In between stand the
pictures as data (:mod:`.figures`), so that page, PNG files and tables show the same numbers.
"""

from __future__ import annotations

from .files import write_pngs, write_report
from .page import page
from .reading import Reading, read_all

__all__ = ["Reading", "page", "read_all", "write_pngs", "write_report"]
