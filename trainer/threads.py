"""CPU threads of a process that trains beside others.

A pool with more threads than idle cores waits at every operation for the thread that got no core, and OpenMP's threads
spin while they wait, see `trainer.cli`.
"""

import os

from reid_stream.engines.cpus import cpu_count


def idle_cores() -> int:
    """Return how many CPU cores this process may use and others leave idle, by the load of the last minute; at least 1.

    A site trains beside its daemon. A CPU quota bounds the number, but the load is that of the whole machine.
    """
    return max(1, min(cpu_count(), len(os.sched_getaffinity(0)) - round(os.getloadavg()[0])))


def limit_threads(count: int) -> None:
    """Bound the threads of torch, OpenCV, BLAS and OpenMP in this process from now on.

    OpenVINO's engines are bounded one by one, by `Models.threads`.
    """
    import cv2
    import torch
    from threadpoolctl import threadpool_limits

    threadpool_limits(limits=count)
    torch.set_num_threads(count)
    cv2.setNumThreads(count)
