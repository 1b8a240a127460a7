"""Jobs of applications: declared once, submitted from anywhere, kept with all that is needed to run them again.

``applications`` reads what can be run and checks what is asked of it; ``spec`` is one such wish, ``desk`` carries
wishes to the sites' queues and follows them. Nothing here knows of widgets, terminals or HTTP: they all call ``desk``.
"""
