"""``nox -s bench``: figures the project promises, measured and printed.

Nothing here is a test: seconds depend on the machine. Cycles do not; the tests assert them on
small arrays.
"""
