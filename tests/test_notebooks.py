"Notebooks as their readers meet them: JupyterLab opens one by the documented command; a kernel killed in the middle of a run loses nothing but minutes."
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

from conftest import ROOT
from srgan_nb.training import checkpoints, read_metrics

TUTORIAL = "nbs/tutorials/your_photos.ipynb"
LAB = f".venv/bin/jupyter lab {TUTORIAL}" # as CONTRIBUTING and the notebook say


def wait_for(condition, process, log, seconds=900):
    "What `condition` gives as soon as it is not false; fails where the process ends before, or time runs out."
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition(): return found
        assert process.poll() is None, f"ended with {process.returncode}:\n{log.read_text(encoding='utf-8')}"
        time.sleep(0.02)
    pytest.fail(f"nothing happened in {seconds} seconds:\n{log.read_text(encoding='utf-8')}")


def test_the_command_is_documented():
    for path in (ROOT / "CONTRIBUTING.md", ROOT / TUTORIAL): assert LAB in path.read_text(encoding="utf-8"), path.name


@pytest.fixture(params=[(), ("--notebook-dir=.",)], ids=["one notebook", "all of them in reach"])
def lab(request, tmp_path):
    "The documented command, on a free port, with a token, without a browser: a function from an address below the server to what it answers, and the notebook's path there."
    pytest.importorskip("jupyterlab")
    program = shutil.which("jupyter", path=str(Path(sys.executable).parent)) or pytest.skip("no command jupyter beside this Python")
    with socket.socket() as free: free.bind(("127.0.0.1", 0)); port = free.getsockname()[1]
    command = [program, *LAB.split()[1:], *request.param, "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token=a-token"]
    if hasattr(os, "geteuid") and os.geteuid() == 0: command.append("--allow-root")
    homes = {name: str(tmp_path / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")} # nothing of the reader's is touched
    def ask(address, token="a-token"):
        request = urllib.request.Request(f"http://127.0.0.1:{port}/{address}", headers=dict(Authorization=f"token {token}"))
        with urllib.request.urlopen(request, timeout=120) as answer: return answer.read().decode()
    def answers():
        try: return ask("api/status")
        except OSError: return None
    with open(tmp_path / "log", "w", encoding="utf-8") as log: process = subprocess.Popen(command, cwd=ROOT, env=os.environ | homes, stdout=log, stderr=log)
    try: wait_for(answers, process, tmp_path / "log"); yield ask, TUTORIAL if request.param else Path(TUTORIAL).name
    finally: process.terminate(); process.wait(300)


def test_jupyter_lab_opens_the_notebook(lab):
    "The page is served, and the notebook is there as it is on the disk; not without the token."
    ask, path = lab
    served = json.loads(ask(f"api/contents/{path}"))
    assert served["type"] == "notebook" and [cell["source"] for cell in served["content"]["cells"]] == ["".join(cell["source"]) for cell in json.loads((ROOT / TUTORIAL).read_text(encoding="utf-8"))["cells"]]
    assert "JupyterLab" in ask(f"lab/tree/{path}")
    with pytest.raises(urllib.error.HTTPError, match="403"): ask(f"api/contents/{path}", token="another")


RUNNER = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=1800, kernel_name="python3", resources=dict(metadata=dict(path="."))).execute()
nbformat.write(notebook, sys.argv[2])
"""


@pytest.fixture
def start(tmp_path):
    "Begin to run the tutorial in a process of its own, with toy lengths and without VGG; the executed notebook goes to done.ipynb."
    pytest.importorskip("nbclient")
    kept = {key: value for key, value in os.environ.items() if key not in ("SRGAN_VGG", "JPY_SESSION_NAME", "KAGGLE_KERNEL_RUN_TYPE")}
    environment = kept | dict(SRGAN_QUICK="1", SRGAN_RUNS=str(tmp_path / "runs"), PYTHONPATH=os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]), OMP_NUM_THREADS="1")
    processes = []
    def begin():
        with open(tmp_path / "log", "a", encoding="utf-8") as log: processes.append(subprocess.Popen([sys.executable, "-c", RUNNER, ROOT / TUTORIAL, "done.ipynb"], cwd=tmp_path, env=environment, stdout=log, stderr=log))
        return processes[-1]
    yield begin
    for process in processes: kill(process)


def kill(process):
    "End a process and all it has started, as loss of power does."
    if process.poll() is None:
        for one in [*psutil.Process(process.pid).children(recursive=True), process]: one.kill()
    process.wait()


def test_a_killed_notebook_goes_on_where_it_was(tmp_path, start):
    "Killed at its first checkpoint; then the same cells again, to the end. The panel leaves one picture, each step is logged once, and the second pass begins where the first had saved."
    run, log = tmp_path / "runs/packaged-tiny", tmp_path / "log"
    first = start()
    wait_for(lambda: checkpoints(run), first, log)
    kill(first)
    saved = checkpoints(run)[0].stem
    assert saved in ("checkpoint-srresnet-20", "checkpoint-srresnet-40") and not (tmp_path / "done.ipynb").exists(), f"killed too late, after {saved}"
    assert start().wait(300) == 0, log.read_text(encoding="utf-8")
    cell = next(cell for cell in json.loads((tmp_path / "done.ipynb").read_text(encoding="utf-8"))["cells"] if "#| label: fig-live\n" in cell["source"])
    said = "".join("".join(output["text"]) for output in cell["outputs"] if output["output_type"] == "stream")
    assert dict(zip(("checkpoint-srresnet-20", "checkpoint-srresnet-40"), ("srresnet: step 20 to 40", "srresnet: all 40 steps are done")))[saved] in said and "step 0 to 40" not in said
    assert [(line["stage"], line["step"]) for line in read_metrics(run)] == [(stage, step) for stage, steps in dict(srresnet=40, srgan=20).items() for step in range(5, steps + 1, 5)]
    assert sum("image/jpeg" in output.get("data", {}) for output in cell["outputs"]) == 1
    assert not list(tmp_path.glob("photo-runs"))
