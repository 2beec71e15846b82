# The commands of CONTRIBUTING.md. `just` lists them; https://just.systems says how to install it.

export PATH := justfile_directory() / ".venv/bin" + ":" + env("PATH")
export OMP_NUM_THREADS := "1" # several notebooks or tests at once would wait for each other's threads

[private]
default:
    @'{{ just_executable() }}' --list --unsorted

# create .venv and install everything
setup:
    python3 -m venv .venv
    pip install -e '.[dev]'

# write the package and README from the notebooks
export:
    nbdev_export
    nbdev_clean
    python tools/reading_time.py
    python tools/readme.py

# run all notebooks and all tests
test:
    nbdev_test
    pytest -q -n 2 tests

# run the quick tests only
quick:
    pytest -q -m 'not slow' tests

# check the code, notebooks included
lint:
    ruff check

# build a preview of the site in _proc/_docs (needs npm), and check it
site:
    python -c 'from nbdev.quarto import refresh_quarto_yml; refresh_quarto_yml()'
    python -c 'from nbdev.serve import proc_nbs; proc_nbs()'
    python -m smalldocs.cli render _proc
    python tools/llms.py _proc/_docs
    python tools/try_assets.py _proc/_docs
    python tools/check_site.py _proc/_docs --sources nbs

# measure speed; nothing else should run at the same time
bench:
    env -u OMP_NUM_THREADS python benchmarks/run.py -o benchmarks/results/cpu.json

# everything, in a fresh clone of what is committed
ci:
    bash .ci/run
