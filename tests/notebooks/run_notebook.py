"""Runs the notebook on standard input where this script is, and writes it with its outputs to standard output."""

import json
import sys

import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.stdin, as_version=4)
NotebookClient(notebook, timeout=600, resources={"metadata": {"path": "."}}).execute()
json.dump(notebook, sys.stdout)
