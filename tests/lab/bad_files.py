"""Lab files with one fault each, and what should be said about it."""

from __future__ import annotations

from dataclasses import dataclass

HEAD = "springtide: 1\n"
SITES = "sites: {desk: {kind: local}, plain: {kind: local, runtime: host}, queue: {kind: slurm}}\n"
PROFILES = "profiles: [{name: one, site: desk}]\n"
RIGHT = HEAD + SITES + PROFILES
"""A right file of three lines: faults are added from line 4 on."""


@dataclass(frozen=True)
class Bad:
    """A file's text, and the line, key, found value and allowed values its one error must name."""

    text: str | bytes
    line: int
    key: str
    message: str
    found: str = ""
    allowed: str = ""


def site(rest: str) -> str:
    """Return a file whose fourth and fifth line hold one site more."""
    return HEAD + PROFILES + "sites:\n  desk: {kind: local}\n  extra:\n    kind: " + rest + "\n"


OPENSTACK = "openstack\n    cloud: lab\n    image: base\n    flavours: {m1.small: {cores: 1, memory: 2G}}"
"""A right site up to the file's ninth line."""


def profile(rest: str) -> str:
    """Return a file whose profile, from line 3 on, is written as `rest` after its name."""
    return HEAD + SITES + "profiles:\n- name: one\n  " + rest + "\n"


BAD: dict[str, Bad] = {
    # --- registries and private environments
    "registry with a path": Bad(
        RIGHT + "registries:\n  r.fr/lpf: {}\n",
        5,
        "registries['r.fr/lpf']",
        "is not a registry",
        "r.fr/lpf",
        "registry.lab.fr",
    ),
    "registry's password in the file": Bad(
        RIGHT + "registries:\n  r.fr:\n    password: x\n",
        6,
        "registries['r.fr'].password",
        "not known",
        allowed="credentials",
    ),
    "repository in capitals": Bad(
        RIGHT + "registries:\n  r.fr:\n    prefix: LPF/x\n",
        6,
        "registries['r.fr'].prefix",
        "is not a repository",
        "LPF/x",
        "lower-case",
    ),
    "private environment without containers": Bad(
        HEAD
        + SITES
        + "environments: {lpf: {folder: ., groups: [lpf]}}\n"
        + "profiles:\n- name: one\n  site: plain\n  environment: lpf\n",
        7,
        "profiles[0].environment",
        "for some groups only",
        "'lpf'",
        "containers",
    ),
    "private environment on nodes": Bad(
        HEAD
        + "environments: {lpf: {folder: ., groups: [lpf]}}\n"
        + "sites: {queue: {kind: slurm, runtime: apptainer}}\n"
        + "profiles:\n- name: one\n  site: queue\n  environment: lpf\n",
        7,
        "profiles[0].environment",
        "everyone could read its image",
        "'lpf'",
        "runtime docker",
    ),
    # --- the file itself
    "empty": Bad("", 1, "the file", "is empty", allowed="springtide: 1"),
    "only comments": Bad("# soon\n\n# later\n", 1, "the file", "is empty"),
    "a list": Bad("- springtide\n", 1, "the file", "must be a mapping", "a list", "key: value"),
    "a sentence": Bad("hello\n", 1, "the file", "must be a mapping", "'hello'", "key: value"),
    "not UTF-8": Bad(RIGHT.encode() + b"lab: {name: Universit\xe9}\n", 4, "the file", "UTF-8", "0xe9", "UTF-8"),
    "UTF-16": Bad(RIGHT.encode("utf-16"), 1, "the file", "UTF-8", "byte 0x", "UTF-8"),
    "control character": Bad(RIGHT + "lab: {name: a\x07b}\n", 4, "the file", "character", "U+0007", "printable"),
    "impossible escape": Bad(RIGHT + 'lab: {name: "\\UFFFFFFFF"}\n', 4, "the file", "escape"),
    "huge": Bad("#" * 1_000_001, 1, "the file", "too large", allowed="1 MB"),
    # --- YAML
    "tab": Bad(HEAD + "sites:\n\tdesk: {kind: local}\n" + PROFILES, 3, "the file", "tab", allowed="spaces"),
    "indentation": Bad(
        HEAD + "sites:\n    desk: {kind: local}\n  other: {kind: local}\n", 4, "the file", "indented", "other", "equal"
    ),
    "two colons": Bad(RIGHT + "lab:\n  name: Lab: the best\n", 5, "the file", "':'", "the best", "quotes"),
    "no colon": Bad(HEAD + "sites\n" + PROFILES, 2, "the file", "':'", allowed="key: value"),
    "open bracket": Bad(HEAD + SITES + "profiles: [{name: one, site: desk}\n", 3, "the file", "brackets", "one"),
    "open quote": Bad(RIGHT + 'lab: {name: "Lab}\n', 4, "the file", "quote", "Lab", "closing"),
    "unknown alias": Bad(HEAD + SITES + "profiles: [*nobody]\n", 3, "the file", "alias", "nobody", "anchor"),
    "two documents": Bad(RIGHT + "---\nspringtide: 1\n", 4, "the file", "second document", "---", "one document"),
    "key twice": Bad(RIGHT + SITES, 4, "sites", "twice", allowed="first is on line 2"),
    "inner key twice": Bad(
        profile("site: desk\n  cpus:\n    max: 2\n    max: 4"), 8, "profiles[0].cpus.max", "twice", allowed="line 7"
    ),
    "python tag": Bad(RIGHT + "lab: {name: !!python/name:os.system x}\n", 4, "lab.name", "tag", "python", "no tag"),
    "contains itself": Bad(RIGHT + "lab: &lab\n  name: *lab\n", 5, "lab.name", "contains itself"),
    "deeply nested": Bad(RIGHT + "lab: {name: " + "[" * 60 + "]" * 60 + "}\n", 4, "lab.name" + "[0]" * 29, "deeply"),
    "key is a list": Bad(RIGHT + "? [a, b]\n: c\n", 4, "the file", "key", allowed="plain keys"),
    "merge of a text": Bad(RIGHT + "lab:\n  <<: hello\n", 5, "lab", "merges", allowed="<<"),
    # --- the top
    "no version": Bad(SITES + PROFILES, 1, "springtide", "missing", allowed="1"),
    "later version": Bad("springtide: 2\n" + SITES + PROFILES, 1, "springtide", "choices", "2", "1"),
    "version true": Bad("springtide: true\n" + SITES + PROFILES, 1, "springtide", "whole", "true", "1"),
    "no sites": Bad(HEAD + PROFILES, 1, "sites", "missing", allowed="Places"),
    "no profiles": Bad(HEAD + SITES, 1, "profiles", "missing", allowed="pick from"),
    "sites empty": Bad(HEAD + "sites: {}\n" + PROFILES, 2, "sites", "is empty", allowed="at least one"),
    "sites a list": Bad(HEAD + "sites: [desk]\n" + PROFILES, 2, "sites", "mapping", "a list", "key: value"),
    "profiles without value": Bad(HEAD + SITES + "profiles:\n", 3, "profiles", "no value", allowed="a value"),
    "profiles a mapping": Bad(HEAD + SITES + "profiles: {one: {}}\n", 3, "profiles", "list", "a mapping", "[a, b]"),
    "misspelt section": Bad(
        HEAD + SITES + PROFILES.replace("s:", ":"), 3, "profile", "'profiles'", "'profile'", "sites"
    ),
    "unlike anything": Bad(RIGHT + "zzz: 1\n", 4, "zzz", "not known", "'zzz'", "authentication"),
    # --- how the lab presents itself, where it listens
    "name is a number": Bad(RIGHT + "lab: {name: 12}\n", 4, "lab.name", "text", "12", "quotes"),
    "name is true": Bad(RIGHT + "lab: {name: true}\n", 4, "lab.name", "text", "true", "quotes"),
    "name of two lines": Bad(RIGHT + 'lab: {name: "a\\nb"}\n', 4, "lab.name", "line", "'a\\nb'", "one line"),
    "name is blank": Bad(RIGHT + "lab: {name: ' '}\n", 4, "lab.name", "empty", "' '", "some text"),
    "hub a text": Bad(RIGHT + "hub: here\n", 4, "hub", "mapping", "'here'", "key: value"),
    "port too large": Bad(RIGHT + "hub:\n  port: 99999\n", 5, "hub.port", "too large", "99999", "65535"),
    "port zero": Bad(RIGHT + "hub:\n  port: 0\n", 5, "hub.port", "too small", "0", "1"),
    "port a word": Bad(RIGHT + "hub:\n  port: http\n", 5, "hub.port", "whole number", "'http'"),
    "port true": Bad(RIGHT + "hub:\n  port: true\n", 5, "hub.port", "whole number", "true"),
    "port a fraction": Bad(RIGHT + "hub:\n  port: 80.5\n", 5, "hub.port", "whole number", "80.5"),
    "ports equal": Bad(RIGHT + "hub:\n  api_port: 8000\n", 5, "hub.api_port", "taken", "8000", "hub.port"),
    "port of the proxy": Bad(RIGHT + "hub:\n\n  port: 8001\n", 6, "hub.port", "taken", "8001", "proxy_api_port"),
    "address a URL": Bad(RIGHT + "hub: {address: 'http://x'}\n", 4, "hub.address", "address", "http://x", "IP address"),
    "address mistyped": Bad(RIGHT + "hub: {address: 10.0.0.300}\n", 4, "hub.address", "address", "10.0.0.300", "IP"),
    "address open": Bad(RIGHT + "hub:\n  address: 0.0.0.0\n", 5, "hub.address", "shared password", "0.0.0.0", "pam"),
    "API address of everyone": Bad(
        RIGHT + "hub: {api_address: 0.0.0.0}\n", 4, "hub.api_address", "connect to", "0.0.0.0", "own address"
    ),
    "state relative": Bad(
        RIGHT + "hub: {state_directory: var}\n", 4, "hub.state_directory", "relative", "var", "absol"
    ),
    "database no URL": Bad(RIGHT + "hub: {database: hub.db}\n", 4, "hub.database", "URL", "", "sqlite:///"),
    "ledger no URL": Bad(RIGHT + "hub: {ledger: jobs.db}\n", 4, "hub.ledger", "URL", "", "sqlite:///"),
    "timeout no duration": Bad(
        RIGHT + "hub: {idle_timeout: often}\n", 4, "hub.idle_timeout", "duration", "often", "90m"
    ),
    "timeout negative": Bad(RIGHT + "hub: {idle_timeout: -5}\n", 4, "hub.idle_timeout", "duration", "-5", "never"),
    "no starts": Bad(RIGHT + "hub: {concurrent_starts: 0}\n", 4, "hub.concurrent_starts", "too small", "0", "1"),
    # --- who may log in
    "unknown login": Bad(
        RIGHT + "authentication:\n  kind: ldap\n", 5, "authentication.kind", "choices", "'ldap'", "shared-password, pam"
    ),
    "class without custom": Bad(
        RIGHT + "authentication:\n  class: github\n", 5, "authentication.class", "kind custom", "'github'", "custom"
    ),
    "custom without class": Bad(
        RIGHT + "authentication:\n  kind: custom\n", 4, "authentication.class", "missing", "custom", "authenticator"
    ),
    "class no path": Bad(
        RIGHT + "authentication: {kind: custom, class: 'a b'}\n", 4, "authentication.class", "class", "'a b'", "module"
    ),
    "options without custom": Bad(
        RIGHT + "authentication: {kind: pam, options: {A: {b: 1}}}\n", 4, "authentication.options", "custom", "mapping"
    ),
    "admins a text": Bad(
        RIGHT + "authentication: {admins: ann}\n", 4, "authentication.admins", "list", "'ann'", "[a, b]"
    ),
    "user with a blank": Bad(
        RIGHT + "authentication:\n  users:\n  - ann\n  - ann lee\n", 7, "authentication.users[1]", "user", "'ann lee'"
    ),
    "user a number": Bad(RIGHT + "authentication: {users: [7]}\n", 4, "authentication.users[0]", "text", "7", "quotes"),
    "root": Bad(
        RIGHT + "authentication: {kind: pam, users: [root]}\n", 4, "authentication.users", "root", "root", "ordinary"
    ),
    # --- environments and tutorials
    "environment name": Bad(RIGHT + "environments: {My_Env: {image: a}}\n", 4, "environments.My_Env", "name", "My_Env"),
    "environment of nothing": Bad(RIGHT + "environments:\n  lpf:\n", 5, "environments.lpf", "neither", "", "an image"),
    "environment folder": Bad(
        RIGHT + "environments:\n  lpf:\n    folder: recipes/lpf\n",
        6,
        "environments.lpf.folder",
        "folder",
        "recipes/lpf",
    ),
    "image reference": Bad(
        RIGHT + "environments: {lpf: {image: My Image}}\n", 4, "environments.lpf.image", "image", "My Image", "name"
    ),
    "tutorials folder": Bad(RIGHT + "tutorials: ../lessons\n", 4, "tutorials", "folder", "lessons", "existing folder"),
    "tutorials a number": Bad(RIGHT + "tutorials: 3\n", 4, "tutorials", "path", "3", "text"),
    # --- sites
    "site name": Bad(
        HEAD + PROFILES + "sites:\n  desk: {kind: local}\n  Big Iron: {kind: slurm}\n",
        5,
        "sites['Big Iron']",
        "name",
        "Big Iron",
        "lower-case",
    ),
    "site without kind": Bad(
        HEAD + PROFILES + "sites:\n  desk: {kind: local}\n  extra: {optional: true}\n",
        5,
        "sites.extra.kind",
        "missing",
    ),
    "site of nothing": Bad(
        HEAD + PROFILES + "sites:\n  desk: {kind: local}\n  extra:\n",
        5,
        "sites.extra",
        "no value",
        "nothing",
        "a value",
    ),
    "site kind": Bad(site("condor"), 6, "sites.extra.kind", "choices", "'condor'", "pbspro, torque, slurm, batch"),
    "site runtime": Bad(
        site("local\n    runtime: podman"), 7, "sites.extra.runtime", "choices", "podman", "docker, host"
    ),
    "batch runtime": Bad(
        site("slurm\n    runtime: docker"), 7, "sites.extra.runtime", "choices", "docker", "host, apptainer"
    ),
    "image form on host": Bad(
        site("slurm\n    image_form: folder"), 7, "sites.extra.image_form", "means nothing", "folder", "containers"
    ),
    "image form sif": Bad(
        site("slurm\n    runtime: udocker\n    image_form: sif"),
        8,
        "sites.extra.image_form",
        "none that",
        "sif",
        "folder",
    ),
    "images limit": Bad(
        HEAD + SITES + PROFILES + "images: {limit: much}\n", 4, "images.limit", "not a memory size", "much", "512M"
    ),
    "site key": Bad(site("slurm\n    partition: gpu"), 7, "sites.extra.partition", "not known", "'partition'", "queue"),
    "site key misspelt": Bad(site("slurm\n    quue: gpu"), 7, "sites.extra.quue", "'queue'", "'quue'", "directives"),
    "optional": Bad(site("slurm\n    optional: maybe"), 7, "sites.extra.optional", "true or false", "'maybe'", "true"),
    "pids": Bad(site("local\n    pids: 3"), 7, "sites.extra.pids", "too small", "3", "16"),
    "pids on host": Bad(
        site("local\n    runtime: host\n    pids: 300"), 8, "sites.extra.pids", "means nothing", "300", "docker"
    ),
    "accounts on docker": Bad(site("local\n    accounts: hub"), 7, "sites.extra.accounts", "nothing", "'hub'", "host"),
    "pool public": Bad(
        site("local\n    network_pool: 8.8.0.0/16"), 7, "sites.extra.network_pool", "private", "8.8.0.0/16", "/20"
    ),
    "pool small": Bad(
        site("local\n    network_pool: 10.1.2.0/24"), 7, "sites.extra.network_pool", "small", "10.1.2.0/24", "/20"
    ),
    "pool IPv6": Bad(
        site("local\n    network_pool: fd00::/16"), 7, "sites.extra.network_pool", "network", "fd00", "IPv4"
    ),
    "pool with host bits": Bad(
        site("local\n    network_pool: 10.1.2.3/16"), 7, "sites.extra.network_pool", "network", "10.1.2.3", "10.213.0.0"
    ),
    # --- clouds
    "cloud key misspelt": Bad(
        site("qemu\n    flavors: {}"), 7, "sites.extra.flavors", "'flavours'", "'flavors'", "budget"
    ),
    "cloud of sessions": Bad(
        HEAD + "sites: {desk: {kind: local}, vm: {kind: qemu}}\nprofiles:\n- name: one\n  site: vm\n",
        5,
        "profiles[0].site",
        "is a cloud, where no sessions run",
        "'vm'",
        "desk",
    ),
    "no flavour": Bad(site("qemu\n    flavours: {}"), 7, "sites.extra.flavours", "empty", "", "at least one"),
    "flavour's name": Bad(
        site("qemu\n    flavours:\n      a b: {cores: 1, memory: 1G}"),
        8,
        "sites.extra.flavours['a b']",
        "flavour's name",
        "'a b'",
        "letters",
    ),
    "flavour without memory": Bad(
        site("qemu\n    flavours:\n      a: {cores: 1}"), 8, "sites.extra.flavours.a.memory", "missing", "", "Memory"
    ),
    "flavour of half a core": Bad(
        site("qemu\n    flavours:\n      a: {cores: 0.5, memory: 1G}"),
        8,
        "sites.extra.flavours.a.cores",
        "whole number",
        "0.5",
    ),
    "flavour's key": Bad(
        site("qemu\n    flavours:\n      a: {cores: 1, memory: 1G, price: 2}"),
        8,
        "sites.extra.flavours.a.price",
        "not known",
        "'price'",
        "price_per_hour",
    ),
    "flavour larger than all memory": Bad(
        site("qemu\n    flavours:\n      a: {cores: 1, memory: 16G}\n    maximum_memory: 8G"),
        9,
        "sites.extra.maximum_memory",
        "less than the flavour a has",
        "8G",
        "16G or more",
    ),
    "price below nothing": Bad(
        site("qemu\n    flavours:\n      a: {cores: 1, memory: 1G, price_per_hour: -1}"),
        8,
        "sites.extra.flavours.a.price_per_hour",
        "too small",
        "-1",
    ),
    "budget in words": Bad(
        site("qemu\n    budget: 50 EUR"), 7, "sites.extra.budget", "no budget", "50 EUR", "per: week"
    ),
    "budget per hour": Bad(
        site("qemu\n    budget: {amount: 5, per: hour}"), 7, "sites.extra.budget.per", "choices", "'hour'", "day, week"
    ),
    "cloud that there is not": Bad(
        site("azure"), 6, "sites.extra.kind", "is not one of the choices", "'azure'", "qemu, openstack"
    ),
    "cloud without its name": Bad(
        site(OPENSTACK.replace("cloud: lab", "optional: true")), 5, "sites.extra.cloud", "missing", "", "clouds.yaml"
    ),
    "cloud without an image": Bad(
        site(OPENSTACK.replace("image: base", "optional: true")), 5, "sites.extra.image", "missing", "", "environment"
    ),
    "cloud without a flavour": Bad(
        site("openstack\n    cloud: lab\n    image: base\n    flavours: {}"), 9, "sites.extra.flavours", "empty"
    ),
    "cloud with another's key": Bad(
        site(OPENSTACK + "\n    reachable: []"), 10, "sites.extra.reachable", "not known here", "'reachable'", "network"
    ),
    "cloud's password": Bad(
        site(OPENSTACK + "\n    password: x"), 10, "sites.extra.password", "not known here", "'password'", "clouds_file"
    ),
    "security groups as text": Bad(
        site(OPENSTACK + "\n    security_groups: dask"), 10, "sites.extra.security_groups", "must be a list", "'dask'"
    ),
    "python that is relative": Bad(
        site(OPENSTACK + "\n    python: bin/python"), 10, "sites.extra.python", "not an absolute path", "bin/python"
    ),
    "machines' network public": Bad(
        site("qemu\n    network: 8.8.8.0/24"), 7, "sites.extra.network", "machines can have", "8.8.8.0/24", "private"
    ),
    "machines' network small": Bad(
        site("qemu\n    network: 10.1.1.0/30"), 7, "sites.extra.network", "machines can have", "10.1.1.0/30", "6 to"
    ),
    "reachable": Bad(site("qemu\n    reachable: [10.1.1.1/8]"), 7, "sites.extra.reachable[0]", "network", "10.1.1.1/8"),
    "machines for ever": Bad(site("qemu\n    lifetime: never"), 7, "sites.extra.lifetime", "duration", "'never'", "2h"),
    "machines for a moment": Bad(
        site("qemu\n    lifetime: 10"), 7, "sites.extra.lifetime", "too short", "10", "minute"
    ),
    "quantum of nothing": Bad(
        site("qemu\n    billing_quantum: 0"), 7, "sites.extra.billing_quantum", "not a duration", "0", "90m"
    ),
    "commands folder": Bad(
        site("pbspro\n    commands: /opt/nopbs/bin"), 7, "sites.extra.commands", "folder", "/opt/nopbs/bin", "existing"
    ),
    "directive with #": Bad(
        site("pbspro\n    directives:\n    - -r n\n    - '#PBS -l x'"),
        9,
        "sites.extra.directives[1]",
        "'#'",
        "#PBS -l x",
        "without its #PBS",
    ),
    "directive of words": Bad(
        site("slurm\n    directives: [exclusive]"), 7, "sites.extra.directives[0]", "directive", "exclusive", "option"
    ),
    "directive that leaks": Bad(
        site("pbspro\n    directives: ['-V']"),
        7,
        "sites.extra.directives[0]",
        "secrets",
        "'-V'",
        "environment_variables",
    ),
    "directives a text": Bad(site("slurm\n    directives: --x"), 7, "sites.extra.directives", "list", "--x", "[a, b]"),
    "queue with a blank": Bad(site("slurm\n    queue: a b"), 7, "sites.extra.queue", "queue", "'a b'", "no blanks"),
    "account a number": Bad(site("slurm\n    account: 12"), 7, "sites.extra.account", "text", "12", "quotes"),
    "python relative": Bad(site("slurm\n    python: python3"), 7, "sites.extra.python", "absolute", "python3", "/"),
    "prologue": Bad(
        site('slurm\n    prologue: "a\\0b"'), 7, "sites.extra.prologue", "control", "'a\\x00b'", "printable"
    ),
    "variable name": Bad(
        site("slurm\n    environment_variables:\n      MY-VAR: x"),
        8,
        "sites.extra.environment_variables.MY-VAR",
        "name",
        "'MY-VAR'",
        "letters",
    ),
    "variable of the hub": Bad(
        site("local\n    environment_variables: {JUPYTERHUB_API_TOKEN: x}"),
        7,
        "sites.extra.environment_variables.JUPYTERHUB_API_TOKEN",
        "set by",
        "JUPYTERHUB_API_TOKEN",
        "JUPYTERHUB_",
    ),
    "variable a list": Bad(
        site("local\n    environment_variables: {A: [x]}"), 7, "sites.extra.environment_variables.A", "text", "a list"
    ),
    "variable true": Bad(
        site("local\n    environment_variables: {A: true}"), 7, "sites.extra.environment_variables.A", "text", "bool"
    ),
    # --- profiles
    "profile a text": Bad(HEAD + SITES + "profiles: [one]\n", 3, "profiles[0]", "mapping", "'one'", "key: value"),
    "profile without name": Bad(HEAD + SITES + "profiles:\n- site: desk\n", 4, "profiles[0].name", "missing"),
    "profile without site": Bad(
        HEAD + SITES + "profiles:\n- name: one\n", 4, "profiles[0].site", "missing", allowed="one of sites"
    ),
    "profile name": Bad(HEAD + SITES + "profiles: [{name: One!, site: desk}]\n", 3, "profiles[0].name", "name", "One!"),
    "profile name twice": Bad(
        HEAD + SITES + "profiles:\n- {name: one, site: desk}\n- {name: one, site: plain}\n",
        5,
        "profiles[1].name",
        "line 4",
        "'one'",
        "its own",
    ),
    "unknown site": Bad(profile("site: dsk"), 5, "profiles[0].site", "no site", "'dsk'", "desk, plain, queue"),
    "unknown environment": Bad(
        profile("site: desk\n  environment: lpf"), 6, "profiles[0].environment", "no environment", "'lpf'", "base, lisa"
    ),
    "profile key": Bad(profile("site: desk\n  mem: 2G"), 6, "profiles[0].mem", "not known", "'mem'", "memory"),
    "walltime here": Bad(
        profile("site: desk\n  walltime: 2h"), 6, "profiles[0].walltime", "no effect", "", "batch site"
    ),
    "queues here": Bad(profile("site: plain\n  queues: [a]"), 6, "profiles[0].queues", "no effect", "", "batch site"),
    "half a core of a node": Bad(
        profile("site: queue\n  cpus:\n    max: 2\n    min: 0.5"),
        8,
        "profiles[0].cpus.min",
        "whole",
        "0.5",
        "whole cores",
    ),
    "half a core, short": Bad(
        profile("site: queue\n  cpus: 0.5"), 6, "profiles[0].cpus", "whole", "0.5", "whole cores"
    ),
    "cpus a word": Bad(profile("site: desk\n  cpus: many"), 6, "profiles[0].cpus", "cores", "'many'", "0.05 to 4096"),
    "cpus none": Bad(profile("site: desk\n  cpus: 0"), 6, "profiles[0].cpus", "cores", "0", "0.05 to 4096"),
    "cpus not a number": Bad(
        profile("site: desk\n  cpus: {max: nan}"), 6, "profiles[0].cpus.max", "cores", "nan", "0.05"
    ),
    "cpus out of order": Bad(
        profile("site: desk\n  cpus: {min: 4, default: 1, max: 2}"),
        6,
        "profiles[0].cpus",
        "order",
        "min 4, default 1, max 2",
        "min <= default <= max",
    ),
    "memory without unit": Bad(profile("site: desk\n  memory: 4"), 6, "profiles[0].memory", "memory", "4", "512M, 2G"),
    "memory unit": Bad(profile("site: desk\n  memory: {max: 4X}"), 6, "profiles[0].memory.max", "size", "'4X'", "512M"),
    "memory endless": Bad(
        profile("site: desk\n  memory: " + "9" * 500), 6, "profiles[0].memory", "memory", "999", "512M"
    ),
    "memory out of order": Bad(
        profile("site: desk\n  memory: {default: 8G, max: 4G}"),
        6,
        "profiles[0].memory",
        "order",
        "min 512M, default 8G, max 4G",
        "<=",
    ),
    "memory key": Bad(
        profile("site: desk\n  memory: {maxi: 4G}"), 6, "profiles[0].memory.maxi", "'max'", "maxi", "min"
    ),
    "walltime form": Bad(
        profile("site: queue\n  walltime: 2 weeks"), 6, "profiles[0].walltime", "duration", "weeks", "90m"
    ),
    "walltime endless": Bad(
        profile("site: queue\n  walltime: 9999d"), 6, "profiles[0].walltime", "long", "9999d", "years"
    ),
    "walltime out of order": Bad(
        profile("site: queue\n  walltime: {default: 2h, max: 1h}"),
        6,
        "profiles[0].walltime",
        "order",
        "min 1 min, default 2 h, max 1 h",
        "<=",
    ),
    "language": Bad(
        profile("site: desk\n  label: {en: Desk, de: Tisch}"), 6, "profiles[0].label.de", "not known", "'de'", "en, fr"
    ),
    "comma in a label": Bad(
        profile("site: desk\n  label: {en: Small, cheap}"), 6, "profiles[0].label.cheap", "not known", "cheap", "en, fr"
    ),
    "label without English": Bad(profile("site: desk\n  label: {fr: Table}"), 6, "profiles[0].label.en", "missing"),
    "label a list": Bad(profile("site: desk\n  label: [a]"), 6, "profiles[0].label", "mapping", "a list"),
    "queue a number": Bad(profile("site: queue\n  queues: [1]"), 6, "profiles[0].queues[0]", "text", "1", "quotes"),
    "group name": Bad(profile("site: desk\n  groups: ['a b']"), 6, "profiles[0].groups[0]", "group", "'a b'", "blanks"),
    "image on a node": Bad(
        HEAD
        + SITES
        + "environments: {lpf: {image: lab/lpf}}\nprofiles:\n- name: one\n  site: queue\n  environment: lpf\n",
        7,
        "profiles[0].environment",
        "no containers",
        "'lpf'",
        "folder",
    ),
}
