"""IPython's settings for every kernel of the image."""

c = get_config()  # noqa: F821  # IPython provides it
c.InteractiveShellApp.exec_files = ["/etc/ipython/out_of_memory.py"]
