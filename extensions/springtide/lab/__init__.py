"""The lab file: what the administrator writes, read into typed, frozen values.

``document`` reads YAML with line numbers, ``fields`` and ``models`` say what is allowed, ``crosscheck`` whether the
parts fit together, ``problems`` puts pydantic's findings into words, ``load`` brings them together. ``profiles``
answers questions about a loaded lab, ``schema`` describes the file to editors.

May import ``errors``, ``units`` and ``share`` only.
"""
