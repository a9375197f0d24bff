"""Machines made of Linux network namespaces: own addresses, a switch between them, bad links.

Nothing of the host's network is touched: the switch is a namespace too, and all that is made here
goes with the namespaces when these are deleted. Needs root, and ``ip`` and ``tc`` of iproute2.
Rates are the kernel's work (tbf), delay and loss that of :mod:`cables`.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cables import Cable, new_end

COMMAND_S = 20.0
CLONE_NEWNET = 0x40000000
NETNS = Path("/run/netns")
NOWHERE = "02:00:00:00:00:00"
"""The hardware address of no machine: what is sent there is lost without a word."""


class NoNamespaces(RuntimeError):
    """Why there can be no network namespaces here."""


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine: a network namespace with one address."""

    name: str
    namespace: str
    address: str
    port: str  # its end at the switch

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Let this thread, and what it starts, be on this machine as far as the network goes."""
        with _inside(self.namespace):
            yield


@dataclass(frozen=True, slots=True)
class Machines:
    """Some machines at one switch."""

    switch: str
    all: tuple[Machine, ...]

    def unplug(self, machine: Machine) -> None:
        """Take a machine off the switch: what it and others send is lost, nobody is told."""
        _run("ip", "-n", self.switch, "link", "set", machine.port, "down")

    def plug_in(self, machine: Machine) -> None:
        """Put a machine back at the switch."""
        _run("ip", "-n", self.switch, "link", "set", machine.port, "up")

    def cut(self, one: Machine, other: Machine) -> None:
        """Lose all that these two send each other, as a firewall between them would."""
        for here, there in ((one, other), (other, one)):
            _neighbour(here, there, "replace", "lladdr", NOWHERE, "nud", "permanent")

    def mend(self, one: Machine, other: Machine) -> None:
        """Let two machines talk again."""
        for here, there in ((one, other), (other, one)):
            _neighbour(here, there, "del")


@dataclass(frozen=True, slots=True)
class Link:
    """What joins a machine to the switch.

    Parameters
    ----------
    rate : str (default: "200mbit")
        Both ways, as ``tc`` takes it.
    delay_s : float (default: 0.0)
        One way; between two machines there are two links.
    loss : float (default: 0.0)
        Probability 0..1 that a packet is lost on its way.
    """

    rate: str = "200mbit"
    delay_s: float = 0.0
    loss: float = 0.0

    @property
    def is_plain(self) -> bool:
        """Whether the kernel can do it alone."""
        return not (self.delay_s or self.loss)


@contextmanager
def machines(names: Sequence[str], link: Link | None = None) -> Iterator[Machines]:
    """Make one machine for each name, joined by links, and take all away at the end.

    Parameters
    ----------
    names : Sequence[str]
        Up to 200 different short names.
    link : Link, optional
        What each link is like.

    Raises
    ------
    NoNamespaces
        If this user or this kernel cannot, and why.
    """
    why = why_not()
    if why is not None:
        raise NoNamespaces(why)
    tag = f"fg{os.getpid():x}"
    with ExitStack() as stack:
        switch = _namespace(f"{tag}-switch", stack)
        _run("ip", "-n", switch, "link", "add", "br0", "type", "bridge")
        _run("ip", "-n", switch, "link", "set", "br0", "up")
        made = tuple(
            _machine(tag, name, number, switch, link or Link(), stack)
            for number, name in enumerate(names)
        )
        yield Machines(switch, made)


def why_not() -> str | None:
    """Return why there can be no machines here, None if there can."""
    for program in ("ip", "tc"):
        if shutil.which(program) is None:
            return f"{program} is not installed (package iproute2)"
    if os.geteuid() != 0:
        return "network namespaces with links between them need root: run it with sudo"
    probe = f"fg{os.getpid():x}-probe"
    try:
        with ExitStack() as stack:
            _namespace(probe, stack)
            _run("ip", "-n", probe, "link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
            _shape(probe, "eth0", "100mbit")
            os.close(_end(probe, "eth2"))
    except NoNamespaces as error:
        return str(error)
    return None


def _machine(
    tag: str, name: str, number: int, switch: str, link: Link, stack: ExitStack
) -> Machine:
    address = f"10.77.0.{number + 1}"
    machine = Machine(name, _namespace(f"{tag}-{name}", stack), address, f"port{number}")
    inside = ("ip", "-n", machine.namespace)
    if link.is_plain:
        pair = ("type", "veth", "peer", "name", machine.port, "netns", switch)
        _run(*inside, "link", "add", "eth0", *pair)
    else:
        ends = _end(machine.namespace, "eth0"), _end(switch, machine.port)
        stack.enter_context(Cable(ends, link.delay_s, link.loss, seed=number))
    _run(*inside, "addr", "add", f"{address}/24", "dev", "eth0")
    _run(*inside, "link", "set", "eth0", "up")
    _run(*inside, "link", "set", "lo", "up")
    _run("ip", "-n", switch, "link", "set", machine.port, "master", "br0", "up")
    _shape(machine.namespace, "eth0", link.rate)
    _shape(switch, machine.port, link.rate)
    return machine


def _namespace(name: str, stack: ExitStack) -> str:
    _run("ip", "netns", "add", name)
    stack.callback(_run, "ip", "netns", "delete", name)
    return name


def _end(namespace: str, device: str) -> int:
    """Make one end of a cable."""
    try:
        with _inside(namespace):
            return new_end(device)
    except OSError as error:
        raise NoNamespaces(f"no TAP device for a line with delay or loss: {error}") from error


def _shape(namespace: str, device: str, rate: str) -> None:
    limit = ("rate", rate, "burst", "256kb", "latency", "100ms")
    _run("tc", "-n", namespace, "qdisc", "add", "dev", device, "root", "tbf", *limit)


def _neighbour(here: Machine, there: Machine, verb: str, *what: str) -> None:
    place = ("dev", "eth0")
    _run("ip", "-n", here.namespace, "neigh", verb, there.address, *what, *place)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=False)
    if done.returncode != 0:
        raise NoNamespaces(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")


@contextmanager
def _inside(namespace: str) -> Iterator[None]:
    with open("/proc/thread-self/ns/net") as here, open(NETNS / namespace) as there:
        _enter(there.fileno())
        try:
            yield
        finally:
            _enter(here.fileno())


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "cannot enter a network namespace")
