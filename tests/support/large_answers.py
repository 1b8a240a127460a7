"""Bulk answers of many jobs, made after real ones: for speed, and for what must hold at any size."""

from __future__ import annotations

_PBSPRO = (
    "Job Id: {n}.pbshead|Job_Name=analysis-{n}|Job_Owner=pbsuser1@pbshead|job_state={state}|queue=workq|server=pbshead"
    "|Checkpoint=u|ctime=Mon Nov 23 18:12:02 2026|Error_Path=pbshead:/home/pbsuser1/analysis.e{n}|Hold_Types=n"
    "|Join_Path=oe|Keep_Files=n|Mail_Points=a|mtime=Mon Nov 23 18:12:03 2026"
    "|Output_Path=pbshead:/home/pbsuser1/analysis.o{n}|Priority=0|qtime=Mon Nov 23 18:12:02 2026|Rerunable=False"
    "|Resource_List.mem=400mb|Resource_List.ncpus=1|Resource_List.nodect=1|Resource_List.place=free"
    "|Resource_List.select=1:mem=400mb:ncpus=1|Resource_List.walltime=01:00:00|substate=10"
    "|Variable_List=PBS_O_HOME=/home/pbsuser1,PBS_O_LANG=C.UTF-8,PBS_O_LOGNAME=pbsuser1,PBS_O_PATH=/usr/bin:/bin,"
    "PBS_O_SHELL=/bin/bash,PBS_O_WORKDIR=/home/pbsuser1,PBS_O_SYSTEM=Linux,PBS_O_QUEUE=workq,PBS_O_HOST=pbshead"
    "|comment=Not Running: Insufficient amount of resource: ncpus |etime=Mon Nov 23 18:12:02 2026"
    "|project=_pbs_project_default|Submit_Host=pbshead\n"
)
_SLURM_HEADING = (
    "ARRAY_JOB_ID|ARRAY_TASK_ID|STATE|EXIT_CODE|RESTART_COUNT|SUBMIT_TIME|START_TIME|END_TIME|USER|PARTITION|CPUS|NODES"
    "|TRES_ALLOC|TIME_LIMIT|EXEC_HOST|NODELIST|REASON|;\n"
)
_SLURM = {
    "R": "{n}|N/A|RUNNING|0|0|1795475002|1795475010|1795478610|marie|batch|4|3|cpu=4,mem=1G,node=1,billing=4"
    "|1:00:00|n2|n[1-3]|None|;\n",
    "Q": "{n}|N/A|PENDING|0|0|1795475002|N/A|N/A|marie|batch|4|1|cpu=4,mem=1G,node=1,billing=4"
    "|1:00:00|n/a||Resources|;\n",
}
_TORQUE = (
    "<Job><Job_Id>{n}.head</Job_Id><Job_Name>analysis-{n}</Job_Name><Job_Owner>alice@head</Job_Owner>"
    "<job_state>{state}</job_state><queue>batch</queue><server>head</server><Checkpoint>u</Checkpoint>"
    "<ctime>1795457522</ctime><Error_Path>head:/home/alice/analysis.e{n}</Error_Path><Hold_Types>n</Hold_Types>"
    "<Join_Path>oe</Join_Path><mtime>1795457523</mtime><Output_Path>head:/home/alice/analysis.o{n}</Output_Path>"
    "<Priority>0</Priority><qtime>1795457522</qtime><Rerunable>False</Rerunable><Resource_List><mem>400mb</mem>"
    "<nodes>1:ppn=1</nodes><walltime>01:00:00</walltime></Resource_List><Variable_List>PBS_O_HOME=/home/alice,"
    "PBS_O_LOGNAME=alice,PBS_O_PATH=/usr/bin:/bin,PBS_O_SHELL=/bin/bash,PBS_O_WORKDIR=/home/alice,PBS_O_HOST=head"
    "</Variable_List><etime>1795457522</etime></Job>"
)


def pbspro(count: int) -> str:
    """Return what ``qstat -F dsv -D '|' -f`` prints of `count` jobs."""
    return "".join(_PBSPRO.format(n=number, state="RQ"[number % 2]) for number in range(1, count + 1))


def slurm(count: int) -> str:
    """Return what squeue prints of `count` jobs in the form that `SlurmQueue` asks for."""
    rows = (_SLURM["RQ"[number % 2]].format(n=number) for number in range(1, count + 1))
    return _SLURM_HEADING + "".join(rows)


def torque(count: int) -> str:
    """Return what ``qstat -x`` prints of `count` jobs."""
    jobs = "".join(_TORQUE.format(n=number, state="RQ"[number % 2]) for number in range(1, count + 1))
    return f"<Data>{jobs}</Data>"
