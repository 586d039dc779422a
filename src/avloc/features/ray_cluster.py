"""Extraction over a Ray cluster: one actor per worker, which keeps its backbones; Ray places and restarts the actors.

Every machine needs avloc installed, the same paths to videos, weights and output (a shared disk), and the same version
of Ray. If a worker dies, its video is retried once; if it dies again, that video fails.
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
from avloc.features.task import Job, extract_to_file, failed_row

LOCAL = "local"

_DIED = "the worker process died twice; the file crashes the decoder, or memory ran out"


class _Worker:
    """A process on the cluster, whose backbones stay loaded from video to video."""

    def extract(self, path: Path, job: Job) -> Row:
        return extract_to_file(path, job)


def extract_on_ray(videos: Sequence[Path], job: Job, address: str, workers: int) -> Iterator[Row]:
    """Extract all videos; yields rows as they complete.

    Args:
        address: of the cluster ("auto", "ray://host:10001", "host:6379"), or "local" to start one on this machine.
        workers: actors, with one core each (and one GPU each, if the cluster has any); 1 means one per core (or GPU).

    Raises:
        InputError: Ray is not installed, or no cluster answers at the address.
    """
    with cluster(address, workers) as ray:
        yield from _run_actors(ray, videos, replace(job, threads=1, out=job.out.resolve()), workers)


@contextmanager
def cluster(address: str, workers: int) -> Iterator[Any]:
    """Connect to Ray; an existing connection is reused and left open.

    Args:
        address, workers: as for `extract_on_ray`.

    Raises:
        InputError: Ray is not installed, or no cluster answers at the address.
    """
    ray = _import_ray()
    if ray.is_initialized():
        yield ray
        return
    _connect(ray, address, workers)
    try:
        yield ray
    finally:
        ray.shutdown()


def _run_actors(ray: Any, videos: Sequence[Path], job: Job, workers: int) -> Iterator[Row]:
    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0))
    count = workers if workers > 1 else max(1, gpus or int(resources.get("CPU", 1)))
    options = {"num_cpus": 1, "num_gpus": 1 if gpus else 0, "max_restarts": -1, "max_task_retries": 1}
    actor = ray.remote(**options)(_Worker)
    idle = deque(actor.remote() for _ in range(min(count, len(videos))))
    queue = deque(videos)
    running: dict[Any, tuple[Any, Path]] = {}
    while queue or running:
        while queue and idle:  # one video per actor, so that a death names its video
            worker, path = idle.popleft(), queue.popleft()
            running[worker.extract.remote(path.absolute(), job)] = (worker, path)
        ready, _ = ray.wait(list(running), num_returns=1)
        for reference in ready:
            worker, path = running.pop(reference)
            try:
                yield replace(ray.get(reference), path=str(path))
            except ray.exceptions.RayActorError:
                yield failed_row(path, job, _DIED)
            except ray.exceptions.RayTaskError as error:
                yield failed_row(path, job, f"the worker failed: {error.cause!r}")
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


def _import_ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise InputError(
            f"--ray needs Ray, which is not installed or does not load ({error}); install it with "
            "`pip install 'avloc[ray]'`, or use --workers on one machine and --shard on several"
        ) from error
    return ray
