"""This client beside its peers, measured in one run: ``python -m benchmarks``.

Strategy: only ratios of one run count. Everything that is compared runs in turns (A B A B ...), so
that a slow moment of the machine meets all; what counts is CPU time, of this process or of a fresh
one; each ratio is taken round by round, and its median and quartiles are shown.

``works/`` holds what is measured, ``measure.py`` how; ``peers.py`` finds the others; ``report.py``
reports the outcome.
"""
