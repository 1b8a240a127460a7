"""Every error Springtide raises on purpose.

The tree::

    SpringtideError
    ├── LabFileError          the lab file is wrong: one or more Problem, each with file, line, key
    │   └── ApplicationFileError  an application's file is
    ├── OptionsError          what a user asked for a session is not allowed (form, API)
    ├── EnvironmentsError     an image or virtual environment cannot be built or used
    │   ├── DifferentImages   two parts of one computation run different images; names the packages that differ
    │   └── RegistryError     an image registry refused or could not be used
    │       └── RegistryUnreachable   it did not answer: nothing is known, try again (transient)
    ├── EngineError           the Docker Engine cannot be asked
    ├── KernelError           a kernel cannot be started
    ├── LedgerError           the database of what was submitted cannot be read or written
    ├── ScriptError           a batch script or what it asks for cannot be used
    ├── JobError              a job of an application cannot be had, or did not do what it should
    │   ├── ParameterError    a parameter or option is unknown or outside its limits; `field` names it
    │   ├── UnknownApplication  nobody offers it, or not to this user
    │   ├── ChainError        jobs that should follow each other cannot
    │   ├── QuotaExceeded     a user's or a group's quota has no room for it
    │   ├── NotSubmitted      nothing was submitted, or nobody knows whether it was
    │   └── JobFailed         it is over, and did not succeed
    ├── TraceError            a workload trace cannot be read or replayed
    ├── CloudError            a cloud refused a machine or could not be asked
    │   ├── CloudUnreachable  it did not answer: nothing is known, try again (transient)
    │   └── CloudRefused      it answered no
    └── QueueError            a batch queue refused or could not be asked
        ├── QueueUnreachable  it did not answer: nothing is known, try again (transient)
        └── SubmitRefused     it answered no
"""

from __future__ import annotations

from dataclasses import dataclass


class SpringtideError(Exception):
    """An error whose text is meant for the person who can act on it.

    Parameters
    ----------
    message : str
        What is wrong, in words a user understands.
    hint : str, optional
        What to do about it.
    transient : bool, optional
        Whether the same call may succeed later without any change.
    """

    step = ""
    """Of a chain: the step that it is about."""

    def __init__(self, message: str, hint: str = "", *, transient: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.transient = transient

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


@dataclass(frozen=True)
class Problem:
    """One fault in a lab file: where it is, what was found, what is allowed."""

    file: str
    line: int
    key: str
    message: str
    found: str = ""
    allowed: str = ""

    def __str__(self) -> str:
        parts = [f"{self.file}:{self.line}: {self.key}: {self.message}"]
        if self.found:
            parts.append(f"found {self.found}")
        if self.allowed:
            parts.append(f"allowed: {self.allowed}")
        return "; ".join(parts)


class LabFileError(SpringtideError):
    """A lab file that cannot be used; ``problems`` names every fault found."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class ApplicationFileError(LabFileError):
    """An application's file that cannot be used; ``problems`` names every fault found."""


class OptionsError(SpringtideError):
    """A session option that is unknown or outside its limits; ``field`` names it."""

    def __init__(self, field: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.field = field


class EnvironmentsError(SpringtideError):
    """An image or virtual environment cannot be built or used."""


class DifferentImages(EnvironmentsError):
    """Two parts of one computation run different images; the message names the packages that differ."""


class RegistryError(EnvironmentsError):
    """An image registry refused a request, or cannot be used from here."""


class RegistryUnreachable(RegistryError):
    """The registry did not answer, so nothing is known about its images."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint, transient=True)


class EngineError(SpringtideError):
    """The Docker Engine cannot be asked."""


class KernelError(SpringtideError):
    """A kernel cannot be started; the message ends with the last lines that it wrote."""


class LedgerError(SpringtideError):
    """The database of what was submitted cannot be read or written; transient where it is only busy."""


class ScriptError(SpringtideError):
    """A batch script, or what it asks for, cannot be used; the message names the line where there is one."""


class JobError(SpringtideError):
    """A job of an application cannot be had, or did not do what it should."""


class ParameterError(JobError):
    """A parameter, or an option that every application has, that cannot be used; ``field`` names it."""

    def __init__(self, field: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.field = field

    def __str__(self) -> str:
        return f"{self.field}: {super().__str__()}"


class UnknownApplication(JobError):
    """No application of this name is offered to this user."""


class ChainError(JobError):
    """Jobs that should follow each other cannot."""


class QuotaExceeded(JobError):
    """A user's or a group's quota has no room for a job: nothing was submitted."""


class NotSubmitted(JobError):
    """A job was refused before or by the scheduler; transient where nobody knows whether it was taken."""


class JobFailed(JobError):
    """A job is over and did not succeed; ``cause`` is why it ended, ``exit_status`` what its program returned."""

    def __init__(self, message: str, hint: str = "", *, cause: str = "", exit_status: int | None = None) -> None:
        super().__init__(message, hint)
        self.cause = cause
        self.exit_status = exit_status


class TraceError(SpringtideError):
    """A workload trace cannot be read or replayed; the message names the line where there is one."""


class CloudError(SpringtideError):
    """A cloud refused a request or could not be asked."""


class CloudUnreachable(CloudError):
    """The cloud did not answer, so nothing is known about its machines."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint, transient=True)


class CloudRefused(CloudError):
    """The cloud answered, and refused the machine; transient where a quota may be free again later."""


class QueueError(SpringtideError):
    """A batch queue refused a request or could not be asked."""


class QueueUnreachable(QueueError):
    """The scheduler did not answer, so nothing is known about its jobs."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint, transient=True)


class SubmitRefused(QueueError):
    """The scheduler answered, and refused the job."""
