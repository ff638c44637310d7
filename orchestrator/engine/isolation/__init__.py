"""Python tasks in processes of their own, for code that is not trusted as the engine is.

    sandbox.py   what such a process may see, use and ask the kernel for; its command line
    guest.py     what runs inside: reads one request, calls one function, writes one answer
    talking.py   the other end of that: one request, one answer, bounded in time and size
    crew.py      how many there are at once, and the ones that stand ready

A guest serves one call and is ended, so no call meets what another one has left behind.
"""
