"""One command for a machine with a GPU: what no other machine can tell about gpugrad, in under eight minutes.

Each part of it (a module of this package with `rows` and `table`) runs in a process of its own, under a limit of its own:
an error in a kernel ends the CUDA context of its process, and a part that hangs is stopped, while the others go on.
"""
