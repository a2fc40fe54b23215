"""Training on several processes that share each batch: MPI between CPUs, NCCL between GPUs.

Start the program with ``mpiexec -n 4 python train.py``. Every process (rank) has the whole model, computes the gradients of its
share of a batch, and takes part in their average; then all make the same step::

    world = distributed.init()
    world.broadcast(model)
    loader = DataLoader(dataset, batch_size=32, shuffle=True, seed=0, sampler=distributed.DistributedSampler(world))
    for x, y in loader:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        world.average_gradients(model.parameters(), weight=len(x))
        optimizer.step()

`batch_size` is that of all ranks together, so the steps are those of a single process, to rounding (which training then makes
larger, as it does any small change). Sums are made in the order of the ranks: the same run gives the same numbers. Where ranks
should draw different random numbers, in dropout for one, give each a seed of its own after the model is made:
``gg.manual_seed(seed + world.rank)``.

An exception in a rank, or one that leaves while others wait for it, ends the job with an error. Without `init`,
`World()` is a single process that does the same with nobody.
"""

from .start import init as init
from .world import DistributedSampler as DistributedSampler
from .world import World as World

__all__ = ["DistributedSampler", "World", "init"]
