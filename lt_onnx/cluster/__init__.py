"""Many calls of plain functions, in processes of this machine or on a Dask cluster.

Comes in: functions of a module, plain values for them, and `Workers`. Goes out: an outcome of every
call as it ends: what it returned, or why it has none.

- `calls`: what a call is and what becomes of it.
- `process`: a process that makes calls one after another, and is replaced when it dies.
- `dask_workers`: such processes on the workers of a Dask cluster; alone imports Dask.
- `executor`: who makes the calls that `Workers` ask for.
- `rows`: what is finished, line by line in a file.
"""
