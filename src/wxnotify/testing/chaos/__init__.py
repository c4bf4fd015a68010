"""
The chaos run: deliveries without end, processes killed with SIGKILL, servers stopped and started.

``python -m wxnotify.testing.chaos --store URL --minutes N`` lets many processes
deliver the same signed notifications at once through a
:class:`~wxnotify.Receiver` on one store, kills them, and counts what came of
it. A payment that was told SUCCESS must have had its effect; in a transaction
exactly once, whatever died and whenever.

It can be read from the middle outwards: ``points.py`` has the places in a
delivery where a process may die, ``workers.py`` the deliveries, ``supervisor.py``
the killing, ``effects.py`` and ``verdict.py`` the counting. Linux and macOS: it
needs ``fork``.
"""
