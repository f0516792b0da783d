"""Tables as hospitals save them → lines of cells, and what people write in a cell → our words.

``read.py`` (a file of any of these kinds) → ``delimited.py`` (CSV; ``encoding.py``: its bytes), ``workbook.py`` (.xlsx); what
both give is a `Grid` (``grid.py``). ``words.py`` and ``numerals.py`` understand single cells. None of them knows a case.
"""
