"""Workers of pytest-xdist: each model is loaded by one worker, and cores are shared. Imported only under xdist."""

import os
from collections.abc import Sequence

import pytest
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

from harness.inputs.errors import AssayError
from harness.inputs.model_catalog import GIB, Dtype, Machine, Quant, find
from harness.running.node_ids import model_of
from harness.subjects.published.recordings import RECORDED


class OneLoadEach(LoadScopeScheduling):  # type: ignore[misc]
    """A scheduler that sends all claims on a model to one worker, and other tests to any free worker."""

    models: Sequence[str] = ()

    def _split_scope(self, nodeid: str) -> str:
        return model_of(nodeid, self.models) or nodeid

    def remove_node(self, node: WorkerController) -> str | None:
        """The test at which a worker died, which is not run again; the tests after it are given to other workers."""
        workload: dict[str, dict[str, bool]] = self.assigned_work.pop(node)
        for unit in workload.values():
            for nodeid, done in unit.items():
                if not done:
                    unit[nodeid] = True
                    self._give_back(workload)
                    return nodeid
        return None

    def _give_back(self, workload: dict[str, dict[str, bool]]) -> None:
        self.workqueue.update({scope: unit for scope, unit in workload.items() if not all(unit.values())})
        for node in self.nodes:
            self._reschedule(node)


def share_cores(workers: int) -> None:
    """Sets torch's threads in a worker, before torch is loaded; a number that is already set stays."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // workers)))


def require_room(names: Sequence[str], quant: Quant, workers: int, machine: Machine, dtype: Dtype = "auto") -> None:
    """Refuses more workers than there is memory for the models they load at once."""
    known = [find(name).computed_in(dtype) for name in names if not name.startswith(RECORDED)]
    needs = {model.alias: model.bytes_needed(quant) for model in known}
    fitting = sorted((alias for alias in needs if machine.fits(needs[alias])), key=needs.__getitem__)[-workers:]
    total = sum(needs[alias] for alias in fitting)
    if len(fitting) > 1 and not machine.fits(total):
        raise AssayError(
            f"-n {workers} would hold {' and '.join(fitting)} at once: {total / GIB:.1f} GiB with --quant {quant}, and "
            f"this machine has {max(machine.ram, machine.gpu) / GIB:.1f} GiB; give a smaller -n, or fewer models"
        )


def make_scheduler(config: pytest.Config, log: object, models: Sequence[str]) -> OneLoadEach:
    """A scheduler for a run on these models."""
    scheduler = OneLoadEach(config, log)
    scheduler.models = models
    return scheduler
