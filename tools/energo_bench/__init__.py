"""The yardsticks of the two matchers: their workloads, their clocks, and whoever else does the same job.

Promises: every workload comes from a seed; figures that are compared come from one run, taken in turns; whoever else is
measured runs in a process of its own and must give the same fills or the same optimum, or the row says that it does not.
What is not installed is a row that says so. Refuses: nothing here is imported by what runs on a Pi.
"""
