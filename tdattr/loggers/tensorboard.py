"""Numbers and pictures in TensorBoard."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tdattr.loggers import Logger, Picture, Recorder, Results, RunInfo, list_numbers


class Events(Recorder):
    """A folder of event files, one for every process and attempt, which TensorBoard shows as one run."""

    def __init__(self, folder: Path, run: RunInfo) -> None:
        self.folder, self.run = folder, run
        self.writer: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """A writer belongs to a process."""
        return vars(self) | {"writer": None}

    def open(self) -> Any:
        """The writer of this process."""
        if self.writer is None:
            from torch.utils.tensorboard import SummaryWriter  # takes a second to import

            self.writer = SummaryWriter(str(self.folder))
        return self.writer

    def log(self, section: str, item: str, step: int, values: Mapping[str, float]) -> None:
        """Numbers such as ``train/loss``. The items of a section follow one another in one chart: a chart for every
        query would be too many to look at."""
        if item:
            step = self.count(section)
        for name, value in values.items():
            self.open().add_scalar(f"{section}/{name}", value, step)
        self.open().flush()  # for those who look on, and as a process may end without closing it

    def count(self, section: str) -> int:
        """The steps of a section so far, those of other processes and earlier attempts too: a byte each in a file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{section}.count").open("ab", buffering=0) as file:
            file.write(b".")
            return file.tell()

    def show(self, name: str, draw: Callable[[], Picture], step: int) -> None:
        """Pictures of one name have a slider over the steps."""
        self.open().add_image(f"images/{name}", draw(), step, dataformats="HWC")
        self.open().flush()

    def close(self) -> None:
        """Write what is left."""
        if self.writer is not None:
            self.writer.close()
            self.writer = None


@dataclass(frozen=True)
class TensorBoard(Logger):
    """The ``logger=tensorboard`` node: a folder ``save_dir/name`` with one inside it for every run."""

    save_dir: str
    name: str

    def start(self, run: RunInfo) -> Events:
        """A run that is started again in its folder goes on in the same one."""
        return Events(Path(self.save_dir) / self.name / run.id, run)

    def finish(self, recorder: Any, results: Results) -> None:
        """The main numbers are ``results/…``, and the metrics of TensorBoard's table of runs, whose columns are those
        that runs are compared by; all others are ``summary/…``: TensorBoard makes a section of what stands before the
        slash. The whole config is a text."""
        import yaml
        from torch.utils.tensorboard.summary import hparams

        writer = recorder.open()
        main = {f"results/{name}": value for name, value in results.headline.items()}
        others = {f"summary/{name}": value for name, value in list_numbers(results.summary).items()}
        for name, draw in results.pictures.items():
            recorder.show(name, draw, 0)
        for name, value in (main | others).items():
            writer.add_scalar(name, value)
        for summary in hparams(recorder.run.columns, main):
            writer.file_writer.add_summary(summary)
        text = yaml.safe_dump(recorder.run.config, sort_keys=False, allow_unicode=True)
        writer.add_text("config", f"```yaml\n{text}```")
        recorder.close()

    def abandon(self, recorder: Any) -> None:
        """What was logged stays."""
        recorder.close()
