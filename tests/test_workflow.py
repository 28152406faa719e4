"""The workflow of GitHub: what it checks, what it may do, and that nothing in it moves."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
# YAML takes the bare word `on` for true.
WORKFLOW: dict[Any, Any] = yaml.safe_load(TEXT)
JOBS: dict[str, Any] = WORKFLOW["jobs"]


def commands(job: str) -> list[str]:
    return [step["run"] for step in JOBS[job]["steps"] if "run" in step]


@pytest.mark.parametrize(
    ("job", "target"), [("lint", "lint"), ("test", "test"), ("bdd", "bdd"), ("image", "build")]
)
def test_each_job_makes_what_a_developer_makes(job: str, target: str) -> None:
    assert f"make {target}" in commands(job)
    assert f"\n{target}:" in (ROOT / "Makefile").read_text()


def test_every_push_and_pull_request_is_checked() -> None:
    assert WORKFLOW[True] == {"push": {"branches": ["main"]}, "pull_request": None}


def test_it_may_read_the_code_and_no_more() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert not [name for name, job in JOBS.items() if "permissions" in job]
    assert "secrets." not in TEXT


@pytest.mark.parametrize("job", JOBS)
def test_a_job_ends_and_keeps_no_credentials(job: str) -> None:
    checkouts = [s for s in JOBS[job]["steps"] if s.get("uses", "").startswith("actions/checkout@")]

    assert [step["with"] for step in checkouts] == [{"persist-credentials": False}]
    assert JOBS[job]["timeout-minutes"] <= 30
    assert re.fullmatch(r"ubuntu-\d\d\.\d\d", JOBS[job]["runs-on"])


def test_actions_are_pinned_by_commit_with_their_version() -> None:
    used = re.findall(r"uses: (.+)$", TEXT, re.MULTILINE)

    assert used
    for action in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)


def test_no_step_runs_what_a_stranger_wrote() -> None:
    assert not [run for job in JOBS for run in commands(job) if "${{" in run]
