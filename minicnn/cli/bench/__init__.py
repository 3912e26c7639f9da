"""`minicnn bench`: time and memory of layers and of whole steps, against the machine's limits and against torch.

workloads.py    what is measured, by name, and how minicnn does it
peer.py         the same networks and steps in torch
worker.py       the process in which one side of one workload runs
measure.py      the sides taking turns; medians, spread, memory
limits.py       what the machine can do at best, and what a layer needs at least
operations.py   single layers beside those limits
profile.py      where the time of a step goes, layer by layer
show.py         the tables and the chart
"""
