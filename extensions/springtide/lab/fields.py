"""The kinds of value a lab file holds: names, sizes, durations, paths, addresses, each checked where it is read.

Every refusal is a `wrong` error, which carries what is allowed, so that the message an administrator reads
says more than "invalid". Paths are resolved, and folders looked for, only where validation is given a
`Surroundings` as its context: that is, when a file is loaded, not when a test builds a value.
"""

from __future__ import annotations

import ipaddress
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from springtide.units import MEMORY_FORMS, WALLTIME_FORMS, parse_memory, parse_walltime

NAME_FORM = "1 to 30 lower-case letters, digits and '-', starting with a letter"
CPUS_FORM = "a number of cores from 0.05 to 4096"
SMALLEST_MEMORY = 64 * 2**20
LARGEST_MEMORY = 2**50
LONGEST_WALLTIME_S = 10 * 365 * 86400
SMALLEST_POOL_PREFIX = 20

NAME_PATTERN = "^[a-z][a-z0-9-]{0,29}$"
_NAME = re.compile(NAME_PATTERN)
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")
_QUEUE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,@:+/-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DATABASE = re.compile(r"[a-z][a-z0-9]*(\+[a-z0-9_]+)?://\S*")
_AUTHENTICATOR = re.compile(r"[A-Za-z_][\w-]*([.:][A-Za-z_]\w*)*")
_REPOSITORY_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::\d{{1,5}})?/)?{_REPOSITORY_PART}(?:/{_REPOSITORY_PART})*"
    r"(?::\w[\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
PRIVATE_NETWORKS = tuple(map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))


@dataclass(frozen=True)
class Surroundings:
    """Where the lab file lies; given to validation as its context."""

    folder: Path


def wrong(message: str, *, allowed: str = "", found: str = "", key: str = "") -> PydanticCustomError:
    """Return an error to raise from a validator; `key` names the part of the value it is about."""
    context = {"message": message, "allowed": allowed, "found": found, "key": key}
    return PydanticCustomError("lab_file", "{message}; allowed: {allowed}", context)


def _matching(pattern: re.Pattern[str], message: str, allowed: str) -> AfterValidator:
    """Return a validator that refuses every text `pattern` does not match as a whole."""

    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise wrong(message, allowed=allowed)
        return text

    return AfterValidator(check)


def _check_one_line(text: str) -> str:
    if not text.isprintable():
        raise wrong("is not a single printable line", allowed="one line of printable characters")
    return text


def _check_filled(text: str) -> str:
    if not text.strip():
        raise wrong("is empty", allowed="some text")
    return text


def _check_shell_lines(text: str) -> str:
    if not text.replace("\n", "").replace("\t", "").isprintable():
        raise wrong("holds control characters", allowed="printable lines")
    return text


def check_whole(value: Any) -> Any:
    """Return `value` unless it is true or false, which pydantic would read as 1 or 0."""
    if isinstance(value, bool):
        raise wrong("must be a whole number", allowed="a number without quotes or decimals")
    return value


def read_cpus(value: Any) -> float:
    """Return a number of cores.

    Raises
    ------
    ValueError
        If `value` is not a number of cores a node can have.
    """
    try:
        cpus = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        cpus = math.nan
    if not 0.05 <= cpus <= 4096:
        raise wrong("is not a number of cores", allowed=CPUS_FORM)
    return cpus


def read_memory(value: Any) -> int:
    """Return a memory size in bytes.

    Raises
    ------
    ValueError
        If `value` is not a size, or one no session can have: a bare ``4`` would be four bytes.
    """
    try:
        memory_bytes = parse_memory(value)
    except (ValueError, OverflowError):
        raise wrong("is not a memory size", allowed=MEMORY_FORMS) from None
    if not SMALLEST_MEMORY <= memory_bytes <= LARGEST_MEMORY:
        raise wrong("is no memory a session can have", allowed=f"64M to 1024T; {MEMORY_FORMS}")
    return memory_bytes


def read_duration(value: Any) -> int:
    """Return a duration in seconds.

    Raises
    ------
    ValueError
        If `value` is not a duration, or one of more than ten years.
    """
    try:
        seconds = parse_walltime(value)
    except (ValueError, OverflowError):
        raise wrong("is not a duration", allowed=WALLTIME_FORMS) from None
    if seconds > LONGEST_WALLTIME_S:
        raise wrong("is too long", allowed=f"at most ten years; {WALLTIME_FORMS}")
    return seconds


def _read_timeout(value: Any) -> Any:
    if value == "never":
        return value
    try:
        return read_duration(value)
    except ValueError:
        raise wrong("is not a duration", allowed=f"{WALLTIME_FORMS}, or never") from None


def _read_path(value: Path, info: ValidationInfo) -> Path:
    if not str(value).isprintable():
        raise wrong("is not a path", allowed="one line of printable characters")
    path = expand_home(value)
    return info.context.folder / path if isinstance(info.context, Surroundings) else path


def expand_home(path: Path) -> Path:
    """Return `path` with a leading ``~`` replaced by the home folder of whoever runs Springtide."""
    return Path(os.path.expanduser(path)) if path.parts[:1] == ("~",) else path


def _check_folder(path: Path, info: ValidationInfo) -> Path:
    if isinstance(info.context, Surroundings) and not is_folder(path):
        raise wrong("is not a folder", found=f"{path}, which does not exist or is no folder", allowed=FOLDER_FORM)
    return path


def is_folder(path: Path) -> bool:
    """Say whether `path` is a folder that can be seen; one behind a locked door is none."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _check_state_directory(path: Path) -> Path:
    # Taken from the lab file's own folder it might end up inside an installed package, or in version control.
    expanded = expand_home(path)
    if not expanded.is_absolute() or not str(path).isprintable():
        raise wrong("is a relative path", allowed="an absolute path, or one that starts with ~/")
    return expanded


def _check_host(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        # Digits and dots alone are a mistyped address, never a machine's name.
        if _HOST.fullmatch(text) and len(text) <= 253 and not re.fullmatch(r"[\d.]+", text):
            return text
    raise wrong("is not an address", allowed="an IP address or a machine's name")


def _check_reachable(text: str) -> str:
    if text in ("", "auto"):
        return text
    host = _check_host(text)
    if host in ("0.0.0.0", "::"):
        raise wrong("is not an address others can connect to", allowed="this machine's own address or name")
    return host


def is_loopback(host: str) -> bool:
    """Say whether `host`, an address or a name, is only reached from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_pool(text: str) -> str:
    allowed = f"a private IPv4 network of at least /{SMALLEST_POOL_PREFIX}, e.g. 10.213.0.0/16"
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError:
        raise wrong("is not a network", allowed=allowed) from None
    if not any(network.subnet_of(private) for private in PRIVATE_NETWORKS):
        raise wrong("is not a private network", allowed=allowed)
    if network.prefixlen > SMALLEST_POOL_PREFIX:
        raise wrong("is too small: every user gets a network from it", allowed=allowed)
    return str(network)


def _check_directive(text: str) -> str:
    if text.startswith("#"):
        raise wrong("starts with '#'", allowed="the directive without its #PBS or #SBATCH, e.g. -l place=scatter")
    if not text.startswith("-"):
        raise wrong("is not a directive", allowed="an option of qsub or sbatch, e.g. -l place=scatter")
    # They would show every user's token to whoever may look at the queue.
    if re.match(r"-[vV]|--export", text):
        raise wrong("would copy the session's secrets into the job's record", allowed="environment_variables instead")
    return text


def _check_variable_name(name: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise wrong("is not a variable's name", found=repr(name), allowed="letters, digits and '_', no digit first")
    if name.startswith("JUPYTERHUB_"):
        raise wrong("is set by Springtide itself", found=repr(name), allowed="names that do not start with JUPYTERHUB_")
    return name


def _read_variable(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and "\0" in value:
        raise wrong("holds a zero byte", allowed="text")
    return value


def _check_absolute(text: str) -> str:
    if text and not text.startswith("/"):
        raise wrong("is not an absolute path", allowed="a path on the nodes that starts with /")
    return text


def _text_schema(pattern: str, description: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "description": description})


FOLDER_FORM = "an existing folder; relative paths start at the lab file's folder"

OneLine = Annotated[str, AfterValidator(_check_one_line)]
FilledLine = Annotated[OneLine, AfterValidator(_check_filled)]
ShellLines = Annotated[str, AfterValidator(_check_shell_lines)]
Name = Annotated[str, _matching(_NAME, "is not a name", NAME_FORM), _text_schema(NAME_PATTERN, f"A name: {NAME_FORM}.")]
UserName = Annotated[
    str, _matching(re.compile(r"[^\s/:,\\\x00-\x1f]{1,255}"), "is not a user or group name", "no blanks, '/', ':', ','")
]
Memory = Annotated[
    int,
    BeforeValidator(read_memory),
    WithJsonSchema({"type": ["string", "integer"], "description": f"Memory: {MEMORY_FORMS}."}),
]
Duration = Annotated[
    int,
    BeforeValidator(read_duration),
    WithJsonSchema({"type": ["string", "integer"], "description": f"Time: {WALLTIME_FORMS}."}),
]
Timeout = Annotated[
    int | Literal["never"],
    BeforeValidator(_read_timeout),
    WithJsonSchema({"type": ["string", "integer"], "description": f"Time: {WALLTIME_FORMS}; or never."}),
]
Cpus = Annotated[
    float,
    BeforeValidator(read_cpus),
    WithJsonSchema({"type": "number", "minimum": 0.05, "maximum": 4096, "description": f"Cores: {CPUS_FORM}."}),
]
Port = Annotated[int, Field(ge=1, le=65535), BeforeValidator(check_whole)]
StartCount = Annotated[int, Field(ge=1, le=1000), BeforeValidator(check_whole)]
ProcessCount = Annotated[int, Field(ge=16, le=100_000), BeforeValidator(check_whole)]
LabPath = Annotated[Path, AfterValidator(_read_path)]
Folder = Annotated[LabPath, AfterValidator(_check_folder)]
StateDirectory = Annotated[Path, AfterValidator(_check_state_directory)]
Address = Annotated[str, AfterValidator(_check_host)]
ReachableAddress = Annotated[str, AfterValidator(_check_reachable)]
NetworkPool = Annotated[str, AfterValidator(_check_pool)]
Directive = Annotated[OneLine, AfterValidator(_check_directive)]
QueueName = Annotated[
    str, _matching(_QUEUE, "is not a queue or account name", "letters, digits and _ . , @ : + / -, no blanks")
]
QueueNameOrEmpty = Annotated[
    str,
    _matching(
        re.compile(f"({_QUEUE.pattern})?"),
        "is not a queue or account name",
        "letters, digits and _ . , @ : + / -, no blanks",
    ),
]
VariableName = Annotated[str, AfterValidator(_check_variable_name)]
Variables = dict[VariableName, Annotated[str, BeforeValidator(_read_variable)]]
AbsolutePath = Annotated[OneLine, AfterValidator(_check_absolute)]
ImageReference = Annotated[
    str, _matching(re.compile(f"({_IMAGE.pattern})?"), "is not an image reference", "[registry/]name[:tag][@sha256:…]")
]
RegistryHost = Annotated[
    str,
    _matching(
        re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*(:\d{1,5})?"),
        "is not a registry",
        "its name, and :port: registry.lab.fr:5443",
    ),
]
RepositoryOrEmpty = Annotated[
    str,
    _matching(
        re.compile(f"({_REPOSITORY_PART}(/{_REPOSITORY_PART})*)?"),
        "is not a repository",
        "lower-case names between '/'",
    ),
]
DatabaseUrl = Annotated[
    str,
    _matching(
        re.compile(f"({_DATABASE.pattern})?"), "is not a database URL", "an SQLAlchemy URL: sqlite:///…, postgresql://…"
    ),
]
AuthenticatorClass = Annotated[
    str,
    _matching(re.compile(f"({_AUTHENTICATOR.pattern})?"), "is not a class", "an entry point or a path: module.Class"),
]
