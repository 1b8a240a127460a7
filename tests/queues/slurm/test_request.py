"""How a request is put into Slurm's words."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from springtide.errors import ScriptError
from springtide.queues.model import After, Dependency, JobArray, JobRequest, Mail
from springtide.queues.slurm.request import command_line, directive_lines, without_directives

PLAIN = JobRequest("true", "st-0123456789ab")


def options(**values: object) -> set[str]:
    return set(directive_lines(replace(PLAIN, **values)))  # type: ignore[arg-type]


def test_a_plain_request_asks_for_one_node() -> None:
    assert directive_lines(PLAIN) == [
        "--job-name=st-0123456789ab",
        "--nodes=1",
        "--ntasks-per-node=1",
        "--cpus-per-task=1",
        "--mem=1024M",
        "--time=01:00:00",
        "--output=/dev/null",
        "--no-requeue",
    ]


def test_what_is_left_open_is_the_sites_default() -> None:
    assert not [line for line in options(memory_bytes=0, walltime_s=0) if line.startswith(("--mem", "--time"))]


@pytest.mark.parametrize(
    ("cores", "ranks", "wanted"),
    [
        (8, 0, {"--ntasks-per-node=8", "--cpus-per-task=1"}),
        (8, 2, {"--ntasks-per-node=2", "--cpus-per-task=4"}),
        (8, 3, {"--ntasks-per-node=3", "--cpus-per-task=2", "--mincpus=8"}),
        (2, 4, {"--ntasks-per-node=4", "--cpus-per-task=1", "--overcommit", "--mincpus=2"}),
    ],
)
def test_ranks_share_the_cores_of_each_node(cores: int, ranks: int, wanted: set[str]) -> None:
    assert wanted <= options(cores=cores, ranks=ranks, nodes=3)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"nodes": 4, "gpus": 2}, {"--nodes=4", "--gres=gpu:2"}),
        ({"memory_bytes": 2**20 + 1}, {"--mem=2M"}),
        ({"walltime_s": 100 * 3600 + 61}, {"--time=100:01:01"}),
        ({"queue": "long", "account": "lisa"}, {"--partition=long", "--account=lisa"}),
        ({"rerunnable": True, "held": True}, {"--requeue", "--hold"}),
        ({"start_after": 1795480000.7}, {"--begin=uts1795480000"}),
        ({"output": "/home/m/a.out", "errors": "/home/m/a.err"}, {"--output=/home/m/a.out", "--error=/home/m/a.err"}),
        ({"array": JobArray(1, 9, 2, at_once=3)}, {"--array=1-9:2%3", "--output=/dev/null"}),
        ({"array": JobArray(0, 4), "output": "/h/100%.out"}, {"--array=0-4:1", "--output=/h/100%%.out.%a"}),
        ({"mail": Mail(("m@l.fr",), at_begin=True, at_abort=True)}, {"--mail-type=BEGIN,FAIL", "--mail-user=m@l.fr"}),
        ({"mail": Mail()}, {"--mail-type=NONE"}),
        (
            {"dependencies": (Dependency(After.OK, ("7", "8_2")), Dependency(After.START, ("9",)))},
            {"--dependency=afterok:7:8_2,after:9", "--kill-on-invalid-dep=yes"},
        ),
        (
            {"dependencies": (Dependency(After.FAILURE, ("7",)), Dependency(After.ANY, ("9",)))},
            {"--dependency=afternotok:7,afterany:9"},
        ),
    ],
)
def test_each_wish_has_its_option(values: dict[str, object], wanted: set[str]) -> None:
    assert wanted <= options(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"name": "a\n#SBATCH --uid=0"},
        {"name": "a\r"},
        {"name": "x" * 201},
        {"queue": "a\nb"},
        {"account": "\x00"},
        {"directives": ("--constraint=a\n--hold",)},
        {"output": "/home/m/a\nb"},
        {"output": "/home/m/a\\b"},
        {"mail": Mail(("a\nb",))},
        {"dependencies": (Dependency(After.OK, ("7,afterany:8",)),)},
        {"dependencies": (Dependency(After.OK, ()),)},
        {"array": JobArray(5, 1)},
        {"array": JobArray(-1, 1)},
        {"cores": 0},
        {"nodes": -1},
        {"gpus": -1},
        {"memory_bytes": -1},
        {"walltime_s": -60},
    ],
)
def test_what_slurm_cannot_carry_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ScriptError):
        options(**values)


@given(st.text(max_size=200))
def test_no_text_leaves_its_line(text: str) -> None:
    request = replace(PLAIN, name=text, queue=text, account=text, output=f"/home/{text}", errors=f"/home/{text}")
    try:
        lines = directive_lines(request)
    except ScriptError:
        assert not text.isprintable() or "\\" in text
        return
    assert all(len(line.splitlines()) == 1 for line in lines)
    assert all(_read_back(line) is not None for line in lines)


def _read_back(line: str) -> str | None:
    """Return an option's value as sbatch reads it, None where it would see another word on the line."""
    _, _, value = line.partition("=")
    if re.fullmatch(r"[^\s\"'\\#]*", value):
        return value
    quoted = re.fullmatch(r'"((?:[^"\\]|\\.)*)"', value)
    return re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else None


@given(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=50))
def test_a_name_is_read_back_as_it_is(name: str) -> None:
    assert _read_back(directive_lines(replace(PLAIN, name=name))[0]) == name


def test_a_command_line_carries_the_sites_directives_too() -> None:
    request = replace(PLAIN, name='a "b"', directives=("--constraint='a&b' --exclusive",))
    assert command_line(request)[0] == '--job-name=a "b"'
    assert command_line(request)[-2:] == ["--constraint=a&b", "--exclusive"]
    with pytest.raises(ScriptError):
        command_line(replace(PLAIN, directives=("--constraint='a",)))


def test_directives_at_the_head_of_a_body_become_comments() -> None:
    body = "#SBATCH --uid=0\n# mine\n\n#PBS -q long\n  #BSUB x\necho\n#SBATCH --hold\n"
    assert without_directives(body) == "# SBATCH --uid=0\n# mine\n\n# PBS -q long\n  #BSUB x\necho\n#SBATCH --hold\n"
