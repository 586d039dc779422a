"""Many videos over a Ray cluster: one actor a worker, which keeps its models; Ray places, restarts and retries them.

Every machine needs avloc installed, the same paths to videos, weights and output (a shared disk), and Ray of the same
version. A worker that dies costs the video it was at a second try; one that dies again at the same video loses it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from avloc.errors import InputError
from avloc.features.manifest import Row
from avloc.features.processes import DIED
from avloc.features.task import Job, failed, work

__all__ = ["LOCAL", "cluster", "spread_over_ray"]

LOCAL = "local"


class _Worker:
    """What runs on the cluster: a process whose backbones stay loaded from video to video."""

    def work(self, path: Path, job: Job) -> Row:
        return work(path, job)


def spread_over_ray(videos: Sequence[Path], job: Job, address: str, workers: int) -> Iterator[Row]:
    """Work on all videos; rows come as they are ready.

    Args:
        address: of the cluster ("auto", "ray://host:10001", "host:6379"), or "local" for one on this machine.
        workers: actors, one core each (and one GPU each, when the cluster has any); 1 asks for one a core (a GPU).

    Raises:
        InputError: Ray is not installed, or there is no cluster at the address.
    """
    with cluster(address, workers) as ray:
        yield from _drive(ray, videos, replace(job, threads=1, out=job.out.resolve()), workers)


@contextmanager
def cluster(address: str, workers: int) -> Iterator[Any]:
    """Ray, connected; it stays so when it was already, and is let go at the end when it was not.

    Args:
        address, workers: as for `spread_over_ray`.

    Raises:
        InputError: Ray is not installed, or there is no cluster at the address.
    """
    ray = _ray()
    ours = not ray.is_initialized()
    if ours:
        _connect(ray, address, workers)
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()


def _drive(ray: Any, videos: Sequence[Path], job: Job, workers: int) -> Iterator[Row]:
    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0))
    count = workers if workers > 1 else max(1, gpus or int(resources.get("CPU", 1)))
    options = {"num_cpus": 1, "num_gpus": 1 if gpus else 0, "max_restarts": -1, "max_task_retries": 1}
    actor = ray.remote(**options)(_Worker)
    idle = deque(actor.remote() for _ in range(min(count, len(videos))))
    queue = deque(videos)
    flying: dict[Any, tuple[Any, Path]] = {}
    while queue or flying:
        while queue and idle:  # one video an actor: when it dies, that one alone is in hand
            worker, path = idle.popleft(), queue.popleft()
            flying[worker.work.remote(path.absolute(), job)] = (worker, path)
        ready, _ = ray.wait(list(flying), num_returns=1)
        for reference in ready:
            worker, path = flying.pop(reference)
            try:
                yield replace(ray.get(reference), path=str(path))
            except ray.exceptions.RayActorError:
                yield failed(path, job, DIED)
            except ray.exceptions.RayTaskError as error:
                yield failed(path, job, f"the worker failed: {error.cause!r}")
            idle.append(worker)


def _connect(ray: Any, address: str, workers: int) -> None:
    try:
        if address == LOCAL:
            cores = {"num_cpus": workers} if workers > 1 else {}
            ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="error", **cores)
        else:
            ray.init(address=address, log_to_driver=False, logging_level="error")
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise InputError(
            f"--ray {address}: expected a running Ray cluster ({str(error).splitlines()[0][:150]}); start one with "
            "`ray start --head` and give --ray auto on that machine, or use --ray local"
        ) from error


def _ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise InputError(
            f"--ray needs Ray, which is not installed or does not load ({error}); install it with "
            "`pip install 'avloc[ray]'`, or use --workers on one machine and --shard on several"
        ) from error
    return ray
