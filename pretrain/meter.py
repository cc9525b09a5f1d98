"""What a run says about itself: speed, share of time spent waiting for images, and the line of the log."""

import time
from typing import Any

import torch

from twinbench.pretrain.images import Plan
from twinbench.runtime.progress import JsonLog


class Meter:
    """Measures steps as they pass and writes a line of the log when asked."""

    def __init__(self, plan: Plan, log: JsonLog, floor: float, device: torch.device) -> None:
        """Write to `log`."""
        self.plan, self.log, self.floor, self.device = plan, log, floor, device
        self.last: dict[str, Any] = {}  # the last line
        self.restart()

    def restart(self) -> None:
        """Begin to measure anew, so that what went on between two steps does not count."""
        self._since = self._step_began = time.monotonic()
        self._waited, self._steps = 0.0, 0

    def images_are_here(self) -> None:
        """Note that the wait for a step's images is over."""
        self._waited += time.monotonic() - self._step_began

    def step_is_done(self) -> None:
        """Note that a step is over; the wait for the next one's images begins."""
        self._steps += 1
        self._step_began = time.monotonic()

    def write(self, step: int, loss: float, statistics: dict[str, float], lr_weights: float, lr_biases: float) -> str:
        """Log the state after `step` steps and return what a progress bar shows of it."""
        elapsed = time.monotonic() - self._since
        batch = self.plan.recipe.batch_size
        # The step in progress is not counted yet, but its time is.
        images_per_s = (self._steps + 1) * batch / elapsed
        line: dict[str, Any] = {
            "epoch": (step - 1) // self.plan.steps_per_epoch,
            "step": step,
            "loss": loss,
            "loss_over_floor": loss / self.floor if self.floor else None,  # 1 is as low as it can get
            **statistics,
            "lr_weights": lr_weights,
            "lr_biases": lr_biases,
            "images_per_s": round(images_per_s, 1),
            "waiting": round(self._waited / elapsed, 3),  # share of the time
            "eta_s": round((self.plan.steps - step) * batch / images_per_s),
        }
        if self.device.type == "cuda":
            line["memory_gib"] = round(torch.cuda.max_memory_allocated(self.device) / 2**30, 2)
        self.log.write(**line)
        self.last = line
        self.restart()
        self._steps = -1  # step_is_done() is still to come for this step
        return f"loss {loss:.4g}, {images_per_s:.0f} images/s"

    def write_accuracy(self, step: int, accuracy: float) -> None:
        """Log the monitor's finding after `step` steps."""
        line = {"epoch": (step - 1) // self.plan.steps_per_epoch, "step": step, "knn_accuracy": accuracy}
        self.log.write(event="monitor", **line)

    def describe_last(self) -> str:
        """Return the last line's statistics for a message."""
        if not self.last:
            return ""
        line = self.last
        return (
            f"; at step {line['step']} it was {line['loss']:.4g}, mean C_ii {line['mean_cii']:.3f}, "
            f"mean |C_ij| {line['mean_abs_cij']:.4f}"
        )
