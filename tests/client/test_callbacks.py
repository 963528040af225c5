"""The callbacks: against the real libraries where there are any, else against what calls them as those do.

`GPUWATCH_TEST_TRAINING_PYTHON` names an interpreter that has transformers (with accelerate), lightning, keras and
torch; without it, this one is looked at.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuwatch.agent.messages import Message, ReportProgress
from tests.agent.listener import Listener, listening
from tests.client.test_client import MODULE

pytestmark = pytest.mark.integration

TRAINING_PYTHON = os.environ.get("GPUWATCH_TEST_TRAINING_PYTHON", sys.executable)

TRANSFORMERS = """
class TrainerCallback:
    def on_train_begin(self, args, state, control, **kwargs): pass
    def on_step_begin(self, args, state, control, **kwargs): pass
    def on_step_end(self, args, state, control, **kwargs): pass
    def on_log(self, args, state, control, **kwargs): pass
    def on_train_end(self, args, state, control, **kwargs): pass

class State:
    def __init__(self, first, max_steps, zero):
        self.global_step, self.max_steps, self.is_world_process_zero = first, max_steps, zero

def train(callback, first=0, last=10, max_steps=10, zero=True):
    assert isinstance(callback, TrainerCallback)
    state = State(first, max_steps, zero)
    def call(event): getattr(callback, event)(None, state, None, model=None, optimizer=None)
    call("on_train_begin")
    for state.global_step in range(first + 1, last + 1):
        call("on_step_begin"); call("on_step_end"); call("on_log")
    call("on_train_end")
"""

LIGHTNING = """
import math

class Callback:
    def on_train_start(self, trainer, pl_module): pass
    def on_train_epoch_start(self, trainer, pl_module): pass
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx): pass
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx): pass
    def on_train_end(self, trainer, pl_module): pass

class Trainer:
    def __init__(self, first, total, zero):
        self.global_step, self.total, self.is_global_zero = first, total, zero
    @property
    def estimated_stepping_batches(self):
        if self.total is None: raise RuntimeError("accumulation changes between epochs")
        return self.total

def train(callback, first=0, last=10, total=10, zero=True):
    assert isinstance(callback, Callback)
    trainer = Trainer(first, total, zero)
    callback.on_train_start(trainer, None)
    callback.on_train_epoch_start(trainer, None)
    for index in range(2 * (last - first)):
        trainer.global_step = first + (index + 1) // 2
        callback.on_train_batch_start(trainer, None, None, index)
        callback.on_train_batch_end(trainer, None, None, None, index)
    callback.on_train_end(trainer, None)
"""

KERAS = """
class Callback:
    def __init__(self): self.params = None
    def set_params(self, params): self.params = params
    def on_train_begin(self, logs=None): pass
    def on_epoch_begin(self, epoch, logs=None): pass
    def on_train_batch_end(self, batch, logs=None): pass
    def on_epoch_end(self, epoch, logs=None): pass

def train(callback, first=0, epochs=2, steps=5, known=True, stride=1):
    assert isinstance(callback, Callback)
    callback.set_params({"verbose": 0, "epochs": epochs, "steps": steps if known else None})
    callback.on_train_begin(None)
    for epoch in range(first, epochs):
        callback.on_epoch_begin(epoch, None)
        for begin in range(0, steps, stride):
            callback.on_train_batch_end(min(begin + stride, steps) - 1, {"loss": 0.1})
        callback.on_epoch_end(epoch, {"loss": 0.1})
"""


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Listener]:
    """An agent to report to."""
    with listening(tmp_path / "s") as listener:
        yield listener


def run(code: str, *, path: str, more: str = "", python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    """Run a training in a process of its own."""
    known = {
        "PYTHONPATH": f"{MODULE.parents[1]}{os.pathsep}{more}", "GPUWATCH_SOCKET": path, "KERAS_BACKEND": "torch",
        "CUDA_VISIBLE_DEVICES": "", "HOME": more or "/", "HF_HUB_OFFLINE": "1", "PATH": os.environ["PATH"],
    }  # fmt: skip
    return subprocess.run(
        [python, "-c", code], env=known, capture_output=True, text=True, timeout=120, check=False, cwd=more or None
    )


def stand_ins(folder: Path) -> Path:
    """The libraries as modules that a process may import."""
    files = {
        "transformers.py": TRANSFORMERS, "lightning/__init__.py": "", "lightning/pytorch.py": LIGHTNING,
        "pytorch_lightning.py": LIGHTNING, "keras/__init__.py": "", "keras/callbacks.py": KERAS,
    }  # fmt: skip
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def reported(*steps: int, total: int | None = 10) -> list[Message]:
    """Reports of steps."""
    return [ReportProgress(float(step), None if total is None else float(total)) for step in steps]


@pytest.mark.parametrize(
    ("module", "library", "arguments", "expected"),
    [
        ("huggingface", "transformers", "", reported(0, 10)),
        ("huggingface", "transformers", "first=4", reported(4, 10)),
        ("huggingface", "transformers", "last=6", reported(0, 6)),
        ("huggingface", "transformers", "zero=False", []),
        ("huggingface", "transformers", "max_steps=-1", reported(0, 10, total=None)),
        ("lightning", "lightning.pytorch", "", reported(0, 10)),
        ("lightning", "pytorch_lightning", "", reported(0, 10)),
        ("lightning", "lightning.pytorch", "first=4", reported(4, 10)),
        ("lightning", "lightning.pytorch", "zero=False", []),
        ("lightning", "lightning.pytorch", "total=None", reported(0, 10, total=None)),
        ("lightning", "lightning.pytorch", "total=math.inf", reported(0, 10, total=None)),
        ("lightning", "lightning.pytorch", "total=-1", reported(0, 10, total=None)),
        ("keras", "keras.callbacks", "", reported(0, 10)),
        ("keras", "keras.callbacks", "first=1", reported(5, 10)),
        ("keras", "keras.callbacks", "stride=3", reported(0, 10)),
        ("keras", "keras.callbacks", "known=False", reported(5, 10)),
        ("keras", "keras.callbacks", "known=False, epochs=1", reported(5, total=5)),
    ],
)
def test_training_is_reported(
    agent: Listener, tmp_path: Path, module: str, library: str, arguments: str, expected: list[Message]
) -> None:
    """From its first step, or the one of its checkpoint, to its last; by one process of several."""
    finished = run(
        f"import math\nfrom {library} import train\nfrom gpuwatch_client.{module} import GpuwatchCallback\n"
        f"train(GpuwatchCallback(), {arguments})\n",
        path=agent.path, more=str(stand_ins(tmp_path / "libraries")),
    )  # fmt: skip

    assert (0, "") == (finished.returncode, finished.stderr)
    assert expected == agent.messages


@pytest.mark.parametrize("module", ["huggingface", "lightning", "keras"])
def test_library_is_loaded_when_its_callback_is_asked_for(tmp_path: Path, module: str) -> None:
    """Importing the module alone loads nothing; and the class can be pickled, as spawned processes need it."""
    code = (
        f"import sys, pickle\nimport gpuwatch_client.{module} as module\n"
        "libraries = {'transformers', 'lightning', 'pytorch_lightning', 'keras'}\n"
        "print(sorted(libraries & set(sys.modules)), hasattr(module, 'Other'))\n"
        "callback = pickle.loads(pickle.dumps(module.GpuwatchCallback()))\n"
        "print(type(callback) is module.GpuwatchCallback, len(libraries & set(sys.modules)))\n"
    )
    finished = run(code, path="/nowhere", more=str(stand_ins(tmp_path)))

    assert ("[] False\nTrue 1\n", "") == (finished.stdout, finished.stderr)


def test_callback_is_one_of_each_lightning_that_is_loaded(tmp_path: Path) -> None:
    """Both names may be in use in one program."""
    code = (
        "import lightning.pytorch, pytorch_lightning\nfrom gpuwatch_client.lightning import GpuwatchCallback\n"
        "print(issubclass(GpuwatchCallback, lightning.pytorch.Callback),"
        " issubclass(GpuwatchCallback, pytorch_lightning.Callback))\n"
    )

    assert "True True\n" == run(code, path="/nowhere", more=str(stand_ins(tmp_path))).stdout


@pytest.mark.parametrize(
    ("module", "told"),
    [
        ("huggingface", "transformers cannot be imported (No module named 'transformers')"),
        ("lightning", "lightning or pytorch_lightning cannot be imported"),
        ("keras", "keras or tf_keras cannot be imported"),
    ],
)
def test_library_that_is_missing_is_an_import_error_that_says_so(module: str, told: str) -> None:
    """And what else there is."""
    code = "import sys; sys.path = [p for p in sys.path if 'site-packages' not in p]\n"
    finished = run(f"{code}from gpuwatch_client.{module} import GpuwatchCallback", path="/nowhere")

    last = finished.stderr.splitlines()[-1]
    assert last.startswith(f"ImportError: gpuwatch_client.{module}: {told}")
    assert last.endswith("install it, or call gpuwatch_client.progress in your own loop")


REAL_TRANSFORMERS = """
import gpuwatch_client, time, torch
from transformers import Trainer, TrainerCallback, TrainingArguments
from gpuwatch_client.huggingface import GpuwatchCallback

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
    def forward(self, x, labels):
        out = self.layer(x)
        return {"loss": ((out - labels) ** 2).mean(), "logits": out}

data = [{"x": torch.ones(1), "labels": torch.ones(1)} for _ in range(16)]

class Stop(TrainerCallback):
    def on_step_end(self, args, state, control, **_):
        control.should_training_stop = state.global_step >= STOP_AT
        control.should_save = control.should_training_stop

for STOP_AT, resume in ((4, None), (10, True)):
    args = TrainingArguments(
        output_dir="out", max_steps=10, per_device_train_batch_size=2, report_to=[], disable_tqdm=True,
        use_cpu=True, save_strategy="no", logging_strategy="no",
    )
    Trainer(model=Net(), args=args, train_dataset=data, callbacks=[GpuwatchCallback, Stop()]).train(
        resume_from_checkpoint=resume
    )
    gpuwatch_client.flush()
    time.sleep(1.1)
"""

REAL_LIGHTNING = """
import torch
import {library} as L
from gpuwatch_client.lightning import GpuwatchCallback

class Net(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
    def training_step(self, batch, index):
        return self.layer(batch[0]).mean()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(20, 1)), batch_size=2)
def trainer(epochs):
    return L.Trainer(
        max_epochs=epochs, accumulate_grad_batches=2, accelerator="cpu", logger=False,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
        callbacks=[GpuwatchCallback()], default_root_dir=".",
    )
first = trainer(1)
first.fit(Net(), data)
first.save_checkpoint("one.ckpt")
import gpuwatch_client, time
gpuwatch_client.flush()
time.sleep(1.1)
trainer(3).fit(Net(), data, ckpt_path="one.ckpt")
"""

REAL_KERAS = """
import numpy, keras
from gpuwatch_client.keras import GpuwatchCallback

model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(
    numpy.ones((20, 1)), numpy.ones((20, 1)), batch_size=4, initial_epoch=1, epochs=3, verbose=0,
    callbacks=[GpuwatchCallback()],
)
"""


def has(library: str) -> bool:
    """Whether the interpreter for trainings has a library, and torch."""
    code = f"from importlib.util import find_spec; exit(not (find_spec({library!r}) and find_spec('torch')))"
    return subprocess.run([TRAINING_PYTHON, "-c", code], timeout=60, check=False).returncode == 0


@pytest.mark.parametrize(
    ("library", "code", "expected"),
    [
        ("transformers", REAL_TRANSFORMERS, reported(0, 4, 4, 10)),
        ("lightning", REAL_LIGHTNING.replace("{library}", "lightning.pytorch"),
         [*reported(0, 5, total=5), *reported(5, 15, total=15)]),
        ("pytorch_lightning", REAL_LIGHTNING.replace("{library}", "pytorch_lightning"),
         [*reported(0, 5, total=5), *reported(5, 15, total=15)]),
        ("keras", REAL_KERAS, reported(5, 15, total=15)),
    ],
    ids=["transformers", "lightning", "pytorch_lightning", "keras"],
)  # fmt: skip
def test_real_training_is_reported(
    agent: Listener, tmp_path: Path, library: str, code: str, expected: list[Message]
) -> None:
    """From its first step to its last, and from its checkpoint on where it is resumed."""
    if not has(library):
        pytest.skip(f"no {library} with torch in {TRAINING_PYTHON}; set GPUWATCH_TEST_TRAINING_PYTHON")
    (tmp_path / "work").mkdir()
    finished = run(code, path=agent.path, more=str(tmp_path / "work"), python=TRAINING_PYTHON)

    assert 0 == finished.returncode, finished.stderr
    assert expected == distinct(agent.messages)


def distinct(messages: list[Message]) -> list[Message]:
    """The first and the last report of each attempt; a slow machine sends some between."""
    steps = [each.step for each in messages if isinstance(each, ReportProgress)]
    between = [0 < i < len(steps) - 1 and steps[i - 1] < steps[i] < steps[i + 1] for i in range(len(steps))]
    return [each for each, dropped in zip(messages, between, strict=True) if not dropped]
