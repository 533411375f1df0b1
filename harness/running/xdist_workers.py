"""Several processes: one load a model, cores shared out, a killed worker judged once. Only xdist loads it."""

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
    """All claims on one model go to one worker; anything else goes to whoever is free."""

    models: Sequence[str] = ()

    def _split_scope(self, nodeid: str) -> str:
        return model_of(nodeid, self.models) or nodeid

    def remove_node(self, node: WorkerController) -> str | None:
        """The test at which the worker died, if it died: it is not run again, what waited behind it is."""
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
    """In a worker, before torch is loaded; whoever has set a number of threads is obeyed."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // workers)))


def require_room(names: Sequence[str], quant: Quant, workers: int, machine: Machine, dtype: Dtype = "auto") -> None:
    """Models that would be loaded at the same time must fit together; those that never fit are skipped anyway."""
    known = [find(name).computed_in(dtype) for name in names if not name.startswith(RECORDED)]
    needs = {one.alias: one.bytes_needed(quant) for one in known}
    fitting = sorted((alias for alias in needs if machine.fits(needs[alias])), key=needs.__getitem__)[-workers:]
    total = sum(needs[alias] for alias in fitting)
    if len(fitting) > 1 and not machine.fits(total):
        raise AssayError(
            f"-n {workers} would hold {' and '.join(fitting)} at once: {total / GIB:.1f} GiB with --quant {quant}, and "
            f"this machine has {max(machine.ram, machine.gpu) / GIB:.1f} GiB; give a smaller -n, or fewer models"
        )


def make_scheduler(config: pytest.Config, log: object, models: Sequence[str]) -> OneLoadEach:
    """For a run on these models."""
    found = OneLoadEach(config, log)
    found.models = models
    return found
