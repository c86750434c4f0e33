"""A checker that breaks everything at random: sockets, servers, and the client's process.

Each seed is a scenario (a batch, a followed run, a command) and a schedule of faults.
The server is a real `LocalServer` on a socket, the client a process of its own that can be killed
at any moment. What the server's agent saw, and the requests that reached it, are the truth that the
client's reports are compared with.

    make chaos SEEDS=0:1000
    PYTHONPATH=tools python -m chaos 0:300 --mutant late-outcome

- `schedule`: from a seed to a scenario and its faults; no I/O.
- `client`: what runs in the client's process; the mutants, and the times that are made small.
- `server`: the agent, and what it has seen.
- `checks`: what has to hold, and the documented windows in which it does not.
- `play`: one seed, from its first fault to its verdict; `__main__`: many of them at a time.

It needs a system that has `kill`, so not Windows.
"""
