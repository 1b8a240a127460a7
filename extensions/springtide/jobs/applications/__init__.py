"""Applications: what can be run in an environment, declared in YAML beside its recipe (``kernels/ENVIRONMENT/apps``).

One declaration gives everything: the command line's options and help, a form's fields, the JSON schema of a REST body,
the page of documentation, and the checks of what people ask for.
"""
