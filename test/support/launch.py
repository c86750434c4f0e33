"""``launch.py SOCKET SCRIPT...`` stands for the script, which a fork of `forks.py` runs.

It passes its arguments, its variables, its folder and its standard files on, and then the signals
that it gets; it ends as the fork does. It needs no `site`, so it starts in 12 ms.
"""

import _socket
import array
import os
import signal
import sys

FILES = (0, 1, 2)
for number in FILES:
    try:
        os.fstat(number)
    except OSError:  # it is closed, and only a new interpreter shows what that means
        os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
link = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
link.connect(sys.argv[1])
rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", FILES))]
link.sendmsg([b"!"], rights)
variables = [b"%b=%b" % each for each in os.environb.items()]
words = [os.getcwdb(), b"%d" % len(sys.argv[2:]), *map(os.fsencode, sys.argv[2:]), *variables]
order = b"\0".join(words)
link.sendall(b"%d\n%b" % (len(order), order))
for number in FILES:
    os.close(number)
child = int(link.recv(20))
for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(signal_number, lambda number, frame: os.kill(child, number))
link.sendall(b"!")  # now it may begin, and be stopped
status = int(link.recv(20))
if status < 0:
    signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)
