"""Batch scripts as their schedulers read them, and as other sites get them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from springtide.errors import ScriptError
from springtide.queues.commands import run_command
from springtide.queues.detect import QUEUES
from springtide.queues.model import After, Dependency, JobArray, JobRequest, Mail
from springtide.queues.scripts.read import BatchScript, read_script
from springtide.queues.scripts.translate import Target

# The lab's own LISACode script, from its slides; there the long command is broken into two lines to fit the page.
LISACODE = Path(__file__).parents[2] / "data" / "scripts" / "lisacode.pbs"
COMMAND = "singularity exec lisacode.img python /usr/bin/makeTDI-lisacode2.py mytdi"
DIALECTS = ("pbspro", "torque", "slurm", "slurm-pbs", "local")
STAMP = "20261123-231500-3f9a"


def target(dialect: str = "local", **facts: Any) -> Target:
    return Target(dialect, **{"folder": Path("/home/marie/run"), "stamp": STAMP, **facts})


def script(*directives: str, body: str = "hostname", shebang: str = "#!/bin/bash") -> BatchScript:
    return read_script("\n".join([shebang, *directives, body, ""]), name="job.sh")


def request(*directives: str, dialect: str = "pbspro", **facts: Any) -> JobRequest:
    return script(*directives).translate(target(dialect, **facts)).request


def notes(*directives: str, dialect: str = "local", **facts: Any) -> str:
    return "\n".join(script(*directives).translate(target(dialect, **facts)).notes)


# --- the lab's script -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_labs_script_runs_everywhere_with_its_name_and_mail_options(dialect: str) -> None:
    translation = read_script(LISACODE).translate(target(dialect))
    wanted = translation.request
    assert (wanted.name, wanted.cores, wanted.nodes) == ("lisacode", 1, 1)
    assert wanted.mail == Mail(at_begin=True, at_end=True, at_abort=True)
    assert (wanted.memory_bytes, wanted.walltime_s) == (0, 0), "the site's own defaults"
    assert wanted.body.endswith(f"\n\n{COMMAND}")
    assert translation.notes == ()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_each_queue_writes_the_labs_script_with_its_own_directives(dialect: str) -> None:
    queue = QUEUES[dialect](Path("/usr/bin"), run_command)
    written = queue.script(read_script(LISACODE).request(target(dialect))).splitlines()
    assert written[0].startswith("#!/bin/bash")
    assert any(line.startswith(queue.directive) and "lisacode" in line for line in written)
    assert COMMAND in written
    mail = {"pbspro": "#PBS -m abe", "torque": "#PBS -m abe", "local": written[1]}
    assert mail.get(dialect, "#SBATCH --mail-type=BEGIN,END,FAIL") in written


@pytest.mark.parametrize(("dialect", "enters_home"), [("pbspro", False), ("torque", False), ("slurm", True)])
def test_a_pbs_script_starts_in_the_home_folder_wherever_it_runs(dialect: str, enters_home: bool) -> None:
    assert ('cd -- "$HOME"' in read_script(LISACODE).request(target(dialect)).body) == enters_home


def test_no_scheduler_sees_the_directives_twice() -> None:
    body = read_script(LISACODE).request(target("slurm")).body
    assert "##PBS -N lisacode" in body
    assert "\n#PBS" not in body


# --- PBS ------------------------------------------------------------------------------------------------------------


def resources(wanted: JobRequest) -> tuple[int, int, int, int]:
    return wanted.nodes, wanted.cores, wanted.ranks, wanted.memory_bytes


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["#PBS -l select=2:ncpus=4:mem=2gb:mpiprocs=3"], (2, 4, 3, 2 * 2**30)),
        (["#PBS -l select=2:ncpus=4:mem=2gb"], (2, 4, 1, 2 * 2**30)),
        (["#PBS -lselect=ncpus=4"], (1, 4, 1, 0)),
        (["#PBS -l nodes=2:ppn=4,mem=8gb"], (2, 4, 4, 4 * 2**30)),
        (["#PBS -l nodes=2:ppn=4", "#PBS -l pmem=500mb"], (2, 4, 4, 2000 * 2**20)),
        (["#PBS -l nodes=4"], (4, 1, 1, 0)),
        (["#PBS -l ncpus=8 -l mem=100mw"], (1, 8, 1, 800 * 2**20)),
        (["#PBS -N x -l ncpus=2,walltime=00:10:00 -q short"], (1, 2, 1, 0)),
        (["  #PBS -l ncpus=2 # of one node"], (1, 2, 1, 0)),
        (["#PBS -l \\", "select=3:ncpus=2"], (3, 2, 1, 0)),
    ],
)
def test_resources_of_pbs(lines: list[str], found: tuple[int, int, int, int]) -> None:
    assert resources(request(*lines)) == found


@pytest.mark.parametrize(
    ("text", "seconds"), [("01:30:00", 5400), ("90:00", 5400), ("5400", 5400), ("1:00:00:00", 86400), ("0:0:7.5", 7)]
)
def test_walltimes_of_pbs(text: str, seconds: int) -> None:
    assert request(f"#PBS -l walltime={text}").walltime_s == seconds


def test_everything_else_pbs_can_say() -> None:
    wanted = request(
        "#PBS -q long -A lisa -h -r y -S /bin/sh",
        "#PBS -J 1-100:2%5",
        "#PBS -m ab -M marie@apc.fr,paul@apc.fr",
        "#PBS -W depend=afterok:12.head:13.head,afterany:14.head -W group_list=lisa",
        "#PBS -o out/run.txt -j oe",
    )
    assert (wanted.queue, wanted.account, wanted.held, wanted.rerunnable) == ("long", "lisa", True, True)
    assert wanted.array == JobArray(1, 100, 2, 5)
    assert wanted.mail == Mail(("marie@apc.fr", "paul@apc.fr"), at_begin=True, at_abort=True)
    after = (Dependency(After.OK, ("12.head", "13.head")), Dependency(After.ANY, ("14.head",)))
    assert wanted.dependencies == after
    assert (wanted.output, wanted.errors) == ("/home/marie/run/out/run.txt", "")
    assert (wanted.shell, wanted.directives) == ("/bin/sh", ("-W group_list=lisa",))


def test_torques_array_is_an_array() -> None:
    assert request("#PBS -t 0-299%10").array == JobArray(0, 299, 1, 10)
    assert request("#PBS -t 1,3,5").array == JobArray(1, 5, 2)


# --- Slurm ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("#SBATCH --nodes=2 --ntasks-per-node=4 --mem=2G", (2, 4, 4, 2 * 2**30)),
        ("#SBATCH -N2 -n8 -c2", (2, 8, 4, 0)),
        ("#SBATCH -c 4 --mem-per-cpu 500", (1, 4, 0, 2000 * 2**20)),
        ("#SBATCH -N 2-4", (2, 1, 0, 0)),
        ("#SBATCH --cpus-per-task 3 # three", (1, 3, 0, 0)),
    ],
)
def test_resources_of_slurm(line: str, found: tuple[int, int, int, int]) -> None:
    assert resources(request(line, dialect="slurm")) == found


@pytest.mark.parametrize(("tasks", "nodes", "each"), [(4, 1, 4), (8, 2, 4), (10, 5, 2), (7, 7, 1)])
def test_processes_without_nodes_are_spread_evenly_over_as_few_as_hold_them(tasks: int, nodes: int, each: int) -> None:
    wanted = request(f"#SBATCH --ntasks={tasks}", dialect="slurm", node_cores=4)
    assert (wanted.nodes, wanted.cores, wanted.ranks) == (nodes, each, each)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 5400), ("90:30", 5430), ("1:30:00", 5400), ("1-12", 129600), ("1-0:30", 88200), ("1-00:00:01", 86401)],
)
def test_walltimes_of_slurm(text: str, seconds: int) -> None:
    assert request(f"#SBATCH -t {text}", dialect="slurm").walltime_s == seconds


def test_everything_else_slurm_can_say() -> None:
    wanted = request(
        '#SBATCH -J "orbit fit" --partition long -A lisa --hold --requeue',
        "#SBATCH --array=0-15:4%2 --mail-type=END,FAIL --mail-user=marie@apc.fr",
        "#SBATCH -d afterok:12:13 --exclusive",
        "#SBATCH -o out-%x-%j.txt -e err.txt",
        dialect="slurm",
    )
    assert (wanted.name, wanted.queue, wanted.account) == ("orbit fit", "long", "lisa")
    assert (wanted.held, wanted.rerunnable, wanted.array) == (True, True, JobArray(0, 15, 4, 2))
    assert wanted.mail == Mail(("marie@apc.fr",), at_end=True, at_abort=True)
    assert wanted.dependencies == (Dependency(After.OK, ("12", "13")),)
    assert wanted.directives == ("--exclusive",)
    assert wanted.output == f"/home/marie/run/out-orbit_fit-{STAMP}.txt"
    assert wanted.errors == "/home/marie/run/err.txt"


# --- which lines count ----------------------------------------------------------------------------------------------


def test_directives_end_at_the_first_command() -> None:
    text = "#!/bin/bash\n\n# a comment\n#PBS -l ncpus=2\ncd /tmp\n#PBS -l ncpus=8\n"
    wanted = read_script(text).request(target("pbspro"))
    assert wanted.cores == 2
    assert wanted.body.endswith("cd /tmp\n#PBS -l ncpus=8")


@pytest.mark.parametrize(
    "line", ["##PBS -l ncpus=8", "#PBSX -l ncpus=8", "# PBS -l ncpus=8", "  #SBATCH -c 8", "#pbs -q x"]
)
def test_lines_that_no_scheduler_obeys_are_comments(line: str) -> None:
    assert request(line).cores == 1


def test_of_a_script_for_both_the_sites_own_lines_count() -> None:
    both = ("#PBS -N pbs -l ncpus=2", "#SBATCH -J slurm -c 3")
    assert (request(*both, dialect="torque").name, request(*both, dialect="slurm").name) == ("pbs", "slurm")


def test_a_script_without_directives_is_one_core_with_the_sites_defaults() -> None:
    wanted = read_script("hostname\n", name="fit.sh").request(target())
    assert (wanted.name, wanted.shell, resources(wanted)) == ("fit.sh", "/bin/bash -l", (1, 1, 0, 0))


def test_what_the_command_line_says_wins() -> None:
    wanted = script("#PBS -N x -l ncpus=2 -o /tmp/a").request(target(), cores=4, output="/tmp/b")
    assert (wanted.name, wanted.cores, wanted.output) == ("x", 4, "/tmp/b")


# --- other dialects -------------------------------------------------------------------------------------------------


def test_a_queue_of_another_cluster_is_left_out_with_a_note() -> None:
    facts: dict[str, Any] = {"dialect": "slurm", "queues": frozenset({"batch"})}
    assert request("#PBS -q long", **facts).queue == ""
    assert "“long”" in notes("#PBS -q long", **facts)
    assert request("#PBS -q batch", **facts).queue == "batch"


def test_what_only_its_own_scheduler_knows_is_passed_on_there_and_refused_elsewhere() -> None:
    line = "#SBATCH --constraint=avx512"
    assert request(line, dialect="slurm").directives == ("--constraint=avx512",)
    with pytest.raises(ScriptError, match=r"job\.sh:2: “--constraint=avx512” has a meaning for Slurm only") as caught:
        request(line, dialect="pbspro")
    assert "##SBATCH" in caught.value.hint


def test_what_matters_little_is_left_out_with_a_note() -> None:
    assert "job.sh:2: “-W group_list=lisa” is left out" in notes("#PBS -W group_list=lisa", dialect="slurm")


def test_a_place_is_for_pbs_pro() -> None:
    assert request("#PBS -l place=pack", dialect="pbspro").directives == ("-l place=pack",)
    assert request("#PBS -l place=pack", dialect="torque").directives == ()
    with pytest.raises(ScriptError, match="place=excl"):
        request("#PBS -l place=excl", dialect="slurm")


def test_what_every_site_does_anyway_is_not_worth_a_note() -> None:
    assert notes("#PBS -k oed -l place=scatter", dialect="slurm") == ""


def run(translated: JobRequest, tmp_path: Path, **environment: str) -> list[str]:
    """Run the job's body as a scheduler would; return what it printed."""
    home = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", **environment}
    command = [*translated.shell.split(), "-c", translated.body]
    answer = subprocess.run(command, env=home, cwd="/", capture_output=True, text=True, check=True)
    return answer.stdout.splitlines()


def test_variables_of_pbs_are_there_in_a_slurm_job(tmp_path: Path) -> None:
    pbs = script(
        "#PBS -l select=1:ncpus=4:mpiprocs=2 -J 1-3", body='cd "$PBS_O_WORKDIR"; pwd; echo $PBS_ARRAY_INDEX $NCPUS'
    )
    translated = pbs.request(target("slurm", folder=tmp_path))
    assert run(translated, tmp_path, SLURM_ARRAY_TASK_ID="2") == [str(tmp_path), "2 4"]


def test_variables_of_slurm_are_there_in_a_pbs_job(tmp_path: Path) -> None:
    slurm = script("#SBATCH -n 4 -c 2", body="pwd; echo $SLURM_NTASKS $SLURM_CPUS_PER_TASK $SLURM_JOB_ID")
    translated = slurm.request(target("pbspro", folder=tmp_path))
    assert run(translated, tmp_path, PBS_JOBID="7.head") == [str(tmp_path), "4 2 7.head"]


def test_variables_that_the_script_does_not_mention_are_not_set() -> None:
    assert "export" not in script("#PBS -N x").request(target("slurm")).body


def test_named_variables_arrive_as_they_were_written(tmp_path: Path) -> None:
    pbs = script("""#PBS -v "FOO=x,y $z,BAR=it's",BAZ""", body='echo "$FOO|$BAR|$BAZ"')
    assert run(pbs.request(target(environment={"BAZ": "a b"})), tmp_path) == ["x,y $z|it's|a b"]


def test_the_whole_environment_goes_without_secrets(tmp_path: Path) -> None:
    mine = {"CONDA": "/opt/c d", "API_TOKEN": "s3cret", "JUPYTERHUB_USER": "m", "PWD": "/x", "PBS_JOBID": "1"}
    pbs = script("#PBS -V", body='echo "$CONDA|$API_TOKEN|$PBS_JOBID"')
    translated = pbs.translate(target(environment=mine))
    assert run(translated.request, tmp_path) == ["/opt/c d||"]
    assert translated.notes == ("Not passed on, as they look like secrets: API_TOKEN, JUPYTERHUB_USER.",)


def test_a_script_of_another_language_is_not_touched() -> None:
    python = script("#PBS -v A=1", body="print(1)", shebang="#!/usr/bin/env python3")
    translated = python.translate(target("pbspro"))
    assert translated.request.body == "##PBS -v A=1\nprint(1)"
    assert translated.request.shell == "/usr/bin/env python3"
    assert "not a POSIX shell" in translated.notes[0]


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("#PBS -l select=1:mem=4gx", "“1:mem=4gx”"),
        ("#PBS -l mem=-4gb", "-l mem is “-4gb”"),
        ("#PBS -l mem=0", "more than zero"),
        ("#PBS -l mem=99999999999999tb", "1 EiB"),
        ("#PBS -l ncpus=0", "from 1 to"),
        ("#PBS -l ncpus=-3", "from 1 to"),
        ("#PBS -l ncpus=two", "-l ncpus is “two”"),
        ("#PBS -l ncpus=99999999999", "from 1 to 1,000,000"),
        ("#PBS -l nodes=0:ppn=2", "-l nodes is “0:ppn=2”"),
        ("#PBS -l nodes=-1", "from 1 to"),
        ("#PBS -l walltime=2hours", "HH:MM:SS"),
        ("#PBS -l walltime=-1:00:00", "HH:MM:SS"),
        ("#PBS -l walltime=0", "more than zero"),
        ("#PBS -l walltime=9999999:00:00", "ten years"),
        ("#PBS -l walltime", "NAME=VALUE"),
        ("#PBS -J 5-1", "the last not before the first"),
        ("#PBS -J 1-2:0", "the step at least 1"),
        ("#PBS -J 1-99999999", "1,000,000 jobs"),
        ("#PBS -t 1,2,9", "even steps"),
        ("#PBS -W depend=afterok", "ids of jobs"),
        ("#PBS -a tomorrow", "MMDDhhmm"),
        ("#PBS -m xyz", "letters of"),
        ("#PBS -S bash", "absolute path"),
        ("#PBS -I", "interactive"),
        ("#PBS -y", "no such option"),
        ("#PBS -N two words", "“words” belongs to no option"),
        ("#PBS -N 'open", "quotation mark is not closed"),
        ("#PBS -N 'a\"b'", "quotes"),
        (f"#PBS -N {'x' * 300}", "300 characters"),
        ("#PBS -v 1A=2", "NAME=VALUE"),
        ("#SBATCH --mem=4X", "--mem is “4X”"),
        ("#SBATCH --mem=-1", "--mem is “-1”"),
        ("#SBATCH -n 0", "--ntasks is “0”"),
        ("#SBATCH -t 0", "more than zero"),
        ("#SBATCH --time=1.5h", "--time is “1.5h”"),
        ("#SBATCH --job-name", "--job-name has no value"),
        ("#SBATCH nodes=2", "“nodes=2” is no option"),
        ("#SBATCH --begin=yesterday", "--begin is “yesterday”"),
        ("#SBATCH --begin=now+999999999weeks", "--begin is"),
        ("#SBATCH hetjob", "several different parts"),
    ],
)
def test_a_directive_that_makes_no_sense_is_said_with_its_line(line: str, words: str) -> None:
    with pytest.raises(ScriptError) as caught:
        script("# first", line)
    assert caught.value.message.startswith("job.sh:3: ")
    assert words in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("content", "words", "hint"),
    [
        (b"", "is empty", "commands"),
        (b" \n\n", "is empty", "commands"),
        (b"#!/bin/bash\n#PBS -N x\n", "no commands", "commands"),
        (b"\x7fELF\x02\x00\x01", ":1: there is a NUL byte", "script that starts it"),
        (b"#!/bin/bash\r\n#PBS -N x\r\nhostname\r\n", ":1: the line ends as on Windows", "dos2unix"),
        (b"#!/bin/bash\n# caf\xe9\nhostname\n", ":2: the text is not UTF-8 (byte 0xe9)", "iconv"),
        (b"\xef\xbb\xbf#!/bin/bash\nhostname\n", ":1: there is a byte order mark", "sed"),
        (b"#!bash\nhostname\n", ":1: “#!bash” does not name a program", "#!/bin/bash"),
        (b"#!/bin/bash\n" + b"#" * 1_000_000, "larger than 1,000,000 bytes", "files of their own"),
    ],
)
def test_a_file_that_is_no_script_is_said_with_what_to_do(
    content: bytes, words: str, hint: str, tmp_path: Path
) -> None:
    file = tmp_path / "job.sh"
    file.write_bytes(content)
    with pytest.raises(ScriptError) as caught:
        read_script(file)
    assert caught.value.message.startswith("job.sh")
    assert words in caught.value.message
    assert hint in caught.value.hint


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match="There is no file"):
        read_script(tmp_path / "missing.sh")
    with pytest.raises(ScriptError, match="is a folder"):
        read_script(tmp_path)
    with pytest.raises(ScriptError, match="is not a file"):
        read_script(Path("/dev/null"))
    with pytest.raises(ScriptError, match="cannot be read"):
        read_script(tmp_path / ("x" * 300))
    with pytest.raises(ScriptError, match="cannot be read"):
        read_script(Path("with\0nul"))


def test_utf8_in_a_script_is_fine() -> None:
    assert "écho" in script("#PBS -N x", body="# écho\nhostname").body


def test_a_file_with_a_strange_name_gives_its_job_a_plain_one() -> None:
    assert read_script("hostname\n", name='my "$job".sh').request(target()).name == "my_job_.sh"


def test_files_of_jobs_called_alike_differ() -> None:
    outputs = {script("#PBS -N x").request(target(stamp=stamp)).output for stamp in ("1", "2")}
    assert outputs == {"/home/marie/run/x-1.out", "/home/marie/run/x-2.out"}


_LINES = st.lists(
    st.one_of(
        st.text(max_size=30),
        st.builds("#PBS -{} {}".format, st.sampled_from("NqAlJtmMoejrSvWhaVxy"), st.text(max_size=20)),
        st.builds(
            "#PBS -l {}={}".format, st.sampled_from(["select", "nodes", "mem", "walltime"]), st.text(max_size=20)
        ),
        st.builds("#SBATCH --{}={}".format, st.sampled_from(["mem", "time", "array", "gres"]), st.text(max_size=20)),
    ),
    max_size=6,
)


@given(_LINES, st.sampled_from(DIALECTS))
def test_whatever_stands_in_a_script_it_is_translated_or_refused_in_words(lines: list[str], dialect: str) -> None:
    try:
        translated = read_script("\n".join(["#!/bin/bash", *lines, "hostname"])).request(target(dialect))
    except ScriptError:
        return
    assert translated.nodes >= 1
    assert translated.cores >= 1
    assert translated.body.endswith("hostname")
