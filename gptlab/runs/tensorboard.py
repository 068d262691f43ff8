"""Curves for TensorBoard, where they are wanted."""

from pathlib import Path

from gptlab.training import History


class TensorBoard:
    """Writes the growing history of a run for TensorBoard; nothing unless it is wanted.

    Args:
        folder: the run's; the curves go into `tensorboard` in it.
        wanted: whether to write at all.

    >>> with TensorBoard(Path("runs/fables"), wanted=False) as board:
    ...     board.add(History())
    """

    def __init__(self, folder: Path, wanted: bool):
        self.folder, self.wanted, self.writer = folder, wanted, None
        self.written = 0  # steps

    def __enter__(self) -> "TensorBoard":
        if self.wanted:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise ValueError(
                    "--tensorboard needs the package tensorboard, which this Python does not have: "
                    "`pip install tensorboard`, or train without it; config.yaml and the checkpoints hold all numbers"
                ) from error
            self.writer = SummaryWriter(str(self.folder / "tensorboard"))
        return self

    def add(self, history: History, resumed: bool = False) -> None:
        """Write the steps since the last call, and the evaluation after them, if there was one.

        Args:
            history: of the run so far.
            resumed: whether its steps were made, and written, by an earlier process.
        """
        if self.writer is None or not history.steps:
            return
        first = history.steps if resumed else self.written + 1
        for name, row in (("loss", history.losses), ("rate", history.rates), ("norm", history.gradient_norms)):
            for step in range(first, history.steps + 1):
                self.writer.add_scalar(f"training/{name}", row[step - 1], step)
        self.written = history.steps
        if history.evaluations and history.evaluations[-1]["step"] == history.steps:
            for name, value in history.evaluations[-1].items():
                self.writer.add_scalar(f"evaluation/{name}", value, history.steps)

    def __exit__(self, *_) -> None:
        if self.writer is not None:
            self.writer.close()
