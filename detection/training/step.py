"""One iteration: Detectron2's, and what it lacks: parts of a batch one after the other, and an end that all share.

Losses that are no numbers end a run. Detectron2's main process alone notices, while the others wait for it in their
next exchange. Here each process knows the mean of all, and all of them end in the same iteration, before the step.
"""

import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from torch import Tensor, nn, optim
from torch.nn.parallel import DistributedDataParallel

from twinbench.detection.training.normalizer import Normalizer
from twinbench.protocols.house import UserError
from twinbench.runtime.process import Process

HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}
NO_NUMBERS = ("infinite or NaN", "Inf/NaN")  # of Detectron2's own words where boxes stop being numbers


class StepError(UserError):
    """Steps that cannot be done here."""


class DivergedError(UserError):
    """A training whose losses are no numbers any more."""


@contextmanager
def told_diverged(error_of: Callable[[str], DivergedError]) -> Generator[None]:
    """Turn Detectron2's errors about boxes that are no numbers into the one that `error_of` makes of its first line."""
    try:
        yield
    except (FloatingPointError, AssertionError) as error:
        if not any(words in str(error) for words in NO_NUMBERS):
            raise
        raise error_of(str(error).splitlines()[0]) from None


def diverged_in_the_end(what: str) -> DivergedError:
    """Return the error for a detector whose losses were numbers to the last iteration, and whose boxes are not.

    A cascade is such a case: it takes each stage's boxes for the next one's proposals, in tests, too.
    """
    return DivergedError(
        f"the trained detector: the training has diverged ({what}); expected boxes that are numbers; choose a lower "
        "rate, --set lr=..., and another OUT"
    )


@dataclass(frozen=True)
class Steps:
    """How an iteration is computed, as the recipe's fields of these names say."""

    accumulate: int = 1  # parts of each process's batch
    precision: str = "fp32"
    optimizer: str = "sgd"
    layer_decay: float = 1.0

    @classmethod
    def of(cls, recipe: object) -> "Steps":
        """Return those of a recipe; what its kind does not have is as above."""
        names = [field.name for field in fields(cls) if hasattr(recipe, field.name)]
        return cls(**{name: getattr(recipe, name) for name in names})

    def require_runs_on(self, process: Process, batch_size: int) -> None:
        """Raise StepError for halves that a processor has no scaled losses for, and for parts of no whole images."""
        if self.precision == "fp16" and process.device == "cpu":
            raise StepError("precision fp16 on cpu: expected a GPU; use --set precision=bf16, or fp32")
        share = batch_size // process.world
        if share % self.accumulate:
            raise StepError(
                f"accumulate {self.accumulate}: the {share} images of each process make no such number of equal parts; "
                f"expected a divisor of {share}"
            )

    @property
    def half(self) -> torch.dtype | None:
        """The type that autocast computes in; None where it does not."""
        return HALVES.get(self.precision)


class Trainer(SimpleTrainer):
    """Detectron2's trainer, with the recipe's steps."""

    def __init__(
        self,
        model: nn.Module,
        loader: Iterable[Any],
        optimizer: optim.Optimizer,
        scaler: torch.amp.GradScaler,
        steps: Steps,
        process: Process,
        kept: Path,
        normalizer: Normalizer,
    ) -> None:
        """Train `model` on the batches of `loader`; `kept` is the folder of the run's checkpoints."""
        super().__init__(model, loader, optimizer)
        self.normalizer = normalizer
        self.scaler, self.steps, self.process, self.kept = scaler, steps, process, kept
        self.device = torch.device(process.device).type

    def run_step(self) -> None:
        """Do one iteration. Plain ones are Detectron2's own."""
        with told_diverged(self._diverged):
            if self.steps.accumulate == 1 and self.steps.half is None:
                super().run_step()
            else:
                self._run_parts()

    def _run_parts(self) -> None:
        """Do one iteration in parts; its gradient is the mean of theirs, as one batch's where losses are means."""
        start = time.perf_counter()
        batch = next(self._data_loader_iter)
        data_time = time.perf_counter() - start
        self.optimizer.zero_grad()
        count = self.steps.accumulate
        size = len(batch) // count
        means: dict[str, Tensor] = {}
        for part in range(count):
            with self._alone(part + 1 < count):
                with torch.autocast(self.device, self.steps.half, enabled=self.steps.half is not None):
                    losses: dict[str, Tensor] = self.model(batch[part * size : (part + 1) * size])
                    total = torch.stack(list(losses.values())).sum() / count
                self.scaler.scale(total).backward()
            for name, value in losses.items():
                means[name] = means.get(name, 0) + value.detach() / count
        self._write_metrics(means, data_time)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _alone(self, wanted: bool) -> AbstractContextManager[None]:
        """Return a context in which gradients are not exchanged yet."""
        if wanted and isinstance(self.model, DistributedDataParallel):
            return self.model.no_sync()
        return nullcontext()

    def _write_metrics(
        self, loss_dict: Mapping[str, Tensor], data_time: float, prefix: str = "", iter: int | None = None
    ) -> None:
        """Tell the losses, means over the processes; DivergedError in all of them if one is no number."""
        names = list(loss_dict)
        values = torch.stack([loss_dict[name].detach().double() for name in names])
        values = torch.cat((values / self.process.world, self.normalizer.message().to(values.device)))
        if self.process.world > 1:
            dist.all_reduce(values)
        told: list[float] = values.tolist()
        self.normalizer.values = told[len(names) :]
        found: dict[str, Any] = dict(zip(names, told, strict=False))
        odd = [f"{name} {value}" for name, value in found.items() if not abs(value) < float("inf")]
        if odd:
            raise self._diverged(", ".join(odd))
        self.storage.put_scalar("data_time", data_time)
        if comm.is_main_process():
            self.storage.put_scalar("total_loss", sum(found.values()))
            if len(found) > 1:
                self.storage.put_scalars(**found)

    def _diverged(self, what: str) -> DivergedError:
        """Return the error that ends the run."""
        rates = [group["lr"] for group in self.optimizer.param_groups]
        kept = f"its last state is kept in {self.kept}" if self.kept.exists() else "no state had been saved yet"
        return DivergedError(
            f"iteration {self.iter}: the training has diverged ({what}) at a rate of {max(rates):g}; expected losses "
            f"that are numbers; {kept}; choose a lower rate, --set lr=..., and another "
            "OUT"
        )
