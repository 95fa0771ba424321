"""Where a fabric keeps its files, and the options it runs with: passive data."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from vnicd.errors import Invalid

HugepageMode = Literal["auto", "require", "never"]
LogLevel = Literal["debug", "info", "warning", "error"]

DEFAULT_RUNTIME_DIR = "/run/vnicd"

SOCKET_PATH_MAX = 107
"""Bytes that the kernel grants the path of a Unix socket."""

KEPT_LOGS = 2
"""Older files of a log that are kept."""

LOG_ASIDE = ".aside"
"""The end of the name that something gets which has the name of a log file, and is none."""

SERVICE = "vnicd.service"
NETWORK_SERVICE = "vnicd-network@{}.service"
CONFIG_DIR = Path("/etc/vnicd")

NETWORKS = "networks"
"""The folder of the networks, below the runtime directory of the default one and below CONFIG_DIR."""
NETWORK_FILE = "network.toml"
DEFAULT_NETWORK = "default"

UNIT_FOLDERS = ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
"""Where systemd looks for the units of a machine, in this order; in each of them in systemd/system."""


@dataclass(frozen=True)
class Paths:
    """The files of one fabric, all below its runtime directory."""

    root: Path

    @classmethod
    def from_environment(cls) -> Paths:
        """The paths below VNICD_RUNTIME_DIR; Invalid when they can't be there."""
        paths = cls(Path(os.environ.get("VNICD_RUNTIME_DIR") or DEFAULT_RUNTIME_DIR).absolute())
        if len(os.fsencode(paths.registration)) > SOCKET_PATH_MAX:
            raise Invalid(
                f"the runtime directory {paths.root} has too long a name for a socket", "use a shorter one"
            )
        there = next(place for place in (paths.root, *paths.root.parents) if os.path.lexists(place))
        if not there.is_dir():
            raise Invalid(f"{there} is not a directory", "set VNICD_RUNTIME_DIR to another")
        return paths

    @property
    def network(self) -> str:
        """The name of the network that this fabric is; empty for the default one."""
        return self.root.name if self.root.parent.name == NETWORKS else ""

    @property
    def default(self) -> Paths:
        """Those of the default network, which may be itself."""
        return Paths(self.root.parent.parent) if self.network else self

    @property
    def networks(self) -> Path:
        """The folder with the runtime directories of all networks but the default one."""
        return self.default.root / NETWORKS

    def of_network(self, name: str) -> Paths:
        """Those of another network beside this one."""
        return self.default if name == DEFAULT_NETWORK else Paths(self.networks / name)

    @property
    def declaration(self) -> Path:
        """The file that declares a network; it outlives the machine's next start if that is a service."""
        if has_service(self.root):
            return CONFIG_DIR / NETWORKS / f"{self.network}.toml"
        return self.root / NETWORK_FILE

    def network_names(self) -> list[str]:
        """All networks but the default one: that are declared, or whose hosting daemon lives or has left something."""
        signs = (NETWORK_FILE, self.control.name, self.state.name)
        found = {path.parent.name for sign in signs for path in self.networks.glob(f"*/{sign}")}
        if has_service(self.networks / "any"):
            found |= {path.stem for path in (CONFIG_DIR / NETWORKS).glob("*.toml")}
        return sorted(found)

    @property
    def control(self) -> Path:
        """Socket of the control protocol."""
        return self.root / "control.sock"

    @property
    def registration(self) -> Path:
        """Socket that partition daemons register at."""
        return self.root / "partition.sock"

    @property
    def state(self) -> Path:
        return self.root / "state.json"

    @property
    def names(self) -> Path:
        """Socket at which systemd starts a names helper for the hosting daemon."""
        return self.root / "names.sock"

    @property
    def etc(self) -> Path:
        """What `vnicctl exec` puts in the place of files in /etc, where nothing in /etc/netns does."""
        return self.root / "etc"

    @property
    def host_lock(self) -> Path:
        return self.root / "host.lock"

    @property
    def logs(self) -> Path:
        return self.root / "log"

    def log(self, name: str) -> Path:
        """What a daemon, or `host`, logs to unless that is the journal."""
        return self.logs / f"{name}.log"

    def log_files(self, name: str) -> list[Path]:
        """The log of a daemon as far as it is there, the oldest first: NAME.log.2, NAME.log.1, NAME.log."""
        log = self.log(name)
        kept = [log.with_name(f"{log.name}.{age}") for age in range(KEPT_LOGS, 0, -1)]
        return [path for path in (*kept, log) if path.is_file() and not path.is_symlink()]


def service_of(root: Path) -> str:
    """The service of systemd that the hosting daemon of this fabric is on this machine; empty if it is none."""
    paths = Paths(root)
    if str(paths.default.root) != DEFAULT_RUNTIME_DIR or not Path("/run/systemd/system").is_dir():
        return ""
    template = NETWORK_SERVICE.format("") if paths.network else SERVICE
    units = [Path(folder, "systemd/system", template) for folder in UNIT_FOLDERS]
    unit = next((path for path in units if path.exists()), None)
    if unit is None or not unit.is_file():  # a masked one leads to /dev/null
        return ""
    return NETWORK_SERVICE.format(paths.network) if paths.network else SERVICE


def has_service(root: Path) -> bool:
    """Whether the fabric with this runtime directory is one that this machine has as a service of systemd."""
    return bool(service_of(root))


def start_command(root: Path) -> str:
    """What starts the hosting daemon of the fabric with this runtime directory."""
    if service := service_of(root):
        return f"systemctl start {service.removesuffix('.service')}"
    network = Paths(root).network
    return f"vnicctl --network {network} up" if network else "vnicctl up"


@dataclass(frozen=True)
class Options:
    """How a fabric runs; the same for all its daemons."""

    hugepages: HugepageMode = "auto"
    idle_timeout: float = 60.0
    """Seconds without a frame after which a direct link is given back."""
    poll_us: int = 100
    """Most microseconds that a loop polls before it sleeps; it learns how long is worth it."""
    log_level: LogLevel = "info"
    """The least grave messages that the daemons log. Who changed what is logged at each level."""
    names: bool | str = True
    """Whether partitions find each other by name; "local": and other names are not forwarded."""
    units: bool = False
    """Whether partition daemons are systemd units; else they are children of the hosting daemon."""
    subnets: tuple[str, ...] = ()
    """Networks of which a partition without addresses is given one each; in nat mode it is the uplink's instead."""
    gateways: tuple[str, ...] = ()
    """In those subnets, where the default routes of partitions lead to."""
    labels: tuple[str, ...] = ()
    """KEY=VALUE of whoever manages the network."""


NETWORK_OPTIONS = ("subnets", "gateways", "labels")
"""Those that are of the network and not of how its daemons run."""

NAMES: dict[str, bool | str] = {"on": True, "local": "local", "off": False}
"""The values of `names`, by what they are called on the command line."""


def option_words(name: str, value: object) -> str:
    """An option of a fabric's file as it is given to `vnicctl up`, which has none for NETWORK_OPTIONS."""
    if name == "names":
        value = next(word for word, mode in NAMES.items() if mode == value)
    shown = f"{value:g}" if isinstance(value, float) else value
    return f"--{name.replace('_', '-')} {shown}"


def wanted_log_level() -> str:
    """The log level in the environment, or an empty text; before the fabric file's, after that of the command line."""
    return os.environ.get("VNICD_LOG_LEVEL", "")


def make_options(
    hugepages: str,
    idle_timeout: float,
    poll_us: int,
    log_level: str = Options.log_level,
    names: bool | str = True,
    units: bool = False,
) -> Options:
    """Options from a user's words; Invalid when one is out of its range."""
    if hugepages not in get_args(HugepageMode):
        raise Invalid(f"hugepages must be auto, require or never, not {hugepages}")
    if not 0.1 <= idle_timeout <= 86400:
        raise Invalid(f"the idle timeout must be 0.1 to 86400 seconds, not {idle_timeout:g}")
    if not 0 <= poll_us <= 1000:
        raise Invalid(f"the polling time must be 0 to 1000 microseconds, not {poll_us}")
    if log_level not in get_args(LogLevel):
        raise Invalid(f"the log level must be debug, info, warning or error, not {log_level}")
    if not any(names is each or names == each == "local" for each in NAMES.values()):
        raise Invalid(f"names must be on, local or off, not {names}")
    mode, level = cast(HugepageMode, hugepages), cast(LogLevel, log_level)
    return Options(mode, idle_timeout, poll_us, level, names, units)
