"""Notebooks as their readers use them.

JupyterLab opens one with the documented command. If a kernel is killed in the middle of a run, only minutes are lost.
"""
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from srgan_nb.checkpoint import list_checkpoints
from srgan_nb.run_folder import read_metrics

from conftest import ROOT

TUTORIAL = "nbs/tutorials/your_photos.ipynb"
LAB_COMMAND = f".venv/bin/jupyter lab {TUTORIAL}" # as CONTRIBUTING and the notebook write it


def test_the_command_is_documented():
    for path in (ROOT / "CONTRIBUTING.md", ROOT / TUTORIAL):
        assert LAB_COMMAND in path.read_text(encoding="utf-8"), path.name


def wait_for(condition, process, log, seconds=900):
    "Returns the first true value of `condition`. Fails if the process ends before that, or if time runs out."
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        assert process.poll() is None, f"ended with {process.returncode}:\n{log.read_text(encoding='utf-8')}"
        time.sleep(0.02)
    pytest.fail(f"nothing happened in {seconds} seconds:\n{log.read_text(encoding='utf-8')}")


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


JUPYTER_FOLDERS = (
    "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR",
    "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR",
)


@pytest.fixture(params=[(), ("--notebook-dir=.",)], ids=["one notebook", "all notebooks"])
def lab(request, tmp_path):
    """JupyterLab, started by the documented command on a free port, with a token and without a browser.

    Gives a function that asks the server for an address, and the notebook's path on the server.
    """
    pytest.importorskip("jupyterlab")
    program = shutil.which("jupyter", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("this Python environment has no command jupyter")
    port = free_port()
    command = [
        program, *LAB_COMMAND.split()[1:], *request.param, "--no-browser", "--ip=127.0.0.1", f"--port={port}",
        "--ServerApp.port_retries=0", "--IdentityProvider.token=a-token",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    # the server writes nothing into the user's own folders
    folders = {name: str(tmp_path / name) for name in JUPYTER_FOLDERS}

    def ask(address, token="a-token"):
        url = f"http://127.0.0.1:{port}/{address}"
        request = urllib.request.Request(url, headers=dict(Authorization=f"token {token}"))
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.read().decode()

    def status():
        try:
            return ask("api/status")
        except OSError:
            return None

    with open(tmp_path / "log", "w", encoding="utf-8") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | folders, stdout=log, stderr=log)
    try:
        wait_for(status, process, tmp_path / "log")
        yield ask, TUTORIAL if request.param else Path(TUTORIAL).name
    finally:
        process.terminate()
        process.wait(300)


def read_cells(path):
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


@pytest.mark.slow
def test_jupyter_lab_opens_the_notebook(lab):
    "The page is served, the notebook is the one on disk, and the server refuses a wrong token."
    ask, path = lab
    served = json.loads(ask(f"api/contents/{path}"))
    assert served["type"] == "notebook"
    served_sources = [cell["source"] for cell in served["content"]["cells"]]
    assert served_sources == ["".join(cell["source"]) for cell in read_cells(ROOT / TUTORIAL)]
    assert "JupyterLab" in ask(f"lab/tree/{path}")
    with pytest.raises(urllib.error.HTTPError, match="403"):
        ask(f"api/contents/{path}", token="another")


RUN_NOTEBOOK = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
resources = dict(metadata=dict(path="."))
NotebookClient(notebook, timeout=1800, kernel_name="python3", resources=resources).execute()
nbformat.write(notebook, sys.argv[2])
"""


def kill(process):
    "End a process and all its children at once, as a power failure does."
    if process.poll() is None:
        for one in [*psutil.Process(process.pid).children(recursive=True), process]:
            one.kill()
    process.wait()


@pytest.fixture
def start(tmp_path):
    """Starts the tutorial in a separate process, with a few steps and without VGG.

    The executed notebook is written to done.ipynb.
    """
    pytest.importorskip("nbclient")
    left_out = ("SRGAN_VGG", "JPY_SESSION_NAME", "KAGGLE_KERNEL_RUN_TYPE")
    environment = {key: value for key, value in os.environ.items() if key not in left_out}
    environment |= dict(
        SRGAN_QUICK="1",
        SRGAN_RUNS=str(tmp_path / "runs"),
        PYTHONPATH=os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        OMP_NUM_THREADS="1",
    )
    command = [sys.executable, "-c", RUN_NOTEBOOK, ROOT / TUTORIAL, "done.ipynb"]
    processes = []

    def begin():
        with open(tmp_path / "log", "a", encoding="utf-8") as log:
            process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
        processes.append(process)
        return process

    yield begin
    for process in processes:
        kill(process)


@pytest.mark.slow
def test_a_killed_notebook_goes_on_from_its_checkpoint(tmp_path, start):
    """The notebook is killed at its first checkpoint, and then runs again from its first cell to its last.

    The second run starts at the checkpoint, each step is logged once, and the live panel leaves one picture.
    """
    run, log = tmp_path / "runs/packaged-tiny", tmp_path / "log"
    resume_messages = {
        "checkpoint-srresnet-20": "srresnet: step 20 to 40",
        "checkpoint-srresnet-40": "srresnet: all 40 steps are done",
    }
    first = start()
    wait_for(lambda: list_checkpoints(run), first, log)
    kill(first)
    saved = list_checkpoints(run)[0].stem
    killed_in_time = saved in resume_messages and not (tmp_path / "done.ipynb").exists()
    assert killed_in_time, f"killed too late, after {saved}"

    assert start().wait(300) == 0, log.read_text(encoding="utf-8")
    cell = next(cell for cell in read_cells(tmp_path / "done.ipynb") if "#| label: fig-live\n" in cell["source"])
    streams = [output for output in cell["outputs"] if output["output_type"] == "stream"]
    printed = "".join("".join(stream["text"]) for stream in streams)
    assert resume_messages[saved] in printed
    assert "step 0 to 40" not in printed

    logged = [(line["stage"], line["step"]) for line in read_metrics(run)]
    every_fifth = [("srresnet", step) for step in range(5, 41, 5)] + [("srgan", step) for step in range(5, 21, 5)]
    assert logged == every_fifth
    assert sum("image/jpeg" in output.get("data", {}) for output in cell["outputs"]) == 1
    assert not list(tmp_path.glob("photo-runs"))
