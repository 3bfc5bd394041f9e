"""Which layers this machine offers, and what the judge prepares for them: bwrap, a Landlock ruleset, a seccomp filter.

Everything here is tried rather than guessed; what does not work comes back as a sentence that says why.
"""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROBE_S = 20

# Threads are allowed, processes are not; nor what reaches another process, the network, or rarely used kernel code.
DENIED = """
fork vfork execve execveat kcmp ptrace process_vm_readv process_vm_writev process_madvise process_mrelease
kill tkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_open pidfd_getfd pidfd_send_signal setsid setpgid
socket socketpair connect bind listen accept accept4 sendto sendmsg sendmmsg recvfrom recvmsg recvmmsg
mount umount2 unshare setns pivot_root chroot move_mount open_tree fsopen fsconfig fsmount fspick mount_setattr
bpf perf_event_open userfaultfd keyctl add_key request_key io_uring_setup io_uring_enter io_uring_register
open_by_handle_at name_to_handle_at memfd_create memfd_secret shmget shmat shmctl shmdt semget semop semctl semtimedop
msgget msgsnd msgrcv msgctl mq_open mq_unlink mq_timedsend mq_timedreceive
personality swapon swapoff reboot init_module finit_module delete_module kexec_load kexec_file_load quotactl acct
settimeofday clock_settime clock_adjtime adjtimex sethostname setdomainname iopl ioperm vhangup syslog
inotify_init inotify_init1 fanotify_init fanotify_mark
utime utimes utimensat utimensat_time64 futimesat file_setattr
setxattr lsetxattr fsetxattr setxattrat removexattr lremovexattr fremovexattr removexattrat
chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat capset
setuid setgid setreuid setregid setresuid setresgid setgroups setfsuid setfsgid
setpriority sched_setparam sched_setscheduler sched_setattr ioprio_set migrate_pages move_pages mbind set_mempolicy
landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp
"""

# Newer than some libseccomp; the same number on every architecture.
NUMBERS = {"setxattrat": 463, "removexattrat": 466, "file_setattr": 469}

CLONE_THREAD = 0x0001_0000
CLONE_NEW_NAMESPACES = (0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000)
# TIOCSTI, TIOCLINUX: typing into someone's terminal. FIOSETOWN, SIOCSPGRP: signals to others, by way of a descriptor.
DENIED_IOCTLS = (0x5412, 0x541C, 0x8901, 0x8902)
DENIED_FCNTLS = (8, 10, 15)  # F_SETOWN, F_SETSIG, F_SETOWN_EX: the same
# PR_SET_PDEATHSIG keeps a worker from outliving the zygote. The others change who may trace it, what it is to others.
DENIED_PRCTLS = (1, 4, 8, 28, 35, 36, 0x59616D61)  # + DUMPABLE, KEEPCAPS, SECUREBITS, MM, CHILD_SUBREAPER, PTRACER
# Memory that RLIMIT_DATA does not count: shared and of no file, or growing like a stack. The address space bounds it,
# but a program can make room there by unmapping what it does not need of its libraries.
UNCOUNTED_MAPPINGS = (0x21, 0x100)  # MAP_SHARED | MAP_ANONYMOUS, MAP_GROWSDOWN
OTHERS_BY_PID = ("prlimit64", "sched_setaffinity")  # allowed for oneself, which is 0
LOW_32 = 0xFFFF_FFFF


@dataclass(frozen=True)
class Filter:
    """A compiled seccomp program, and this machine's number for tgkill."""

    program: bytes
    tgkill: int


def probe_bwrap() -> str | bool:
    """Run bwrap with the namespaces the sandbox needs; True, or why it does not work."""
    if not sys.platform.startswith("linux"):
        return "bwrap needs Linux"
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return "bwrap is not installed (package bubblewrap)"
    # bwrap itself is the one program that surely exists.
    inside = ["--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--", bwrap, "--version"]
    try:
        done = subprocess.run(
            [bwrap, "--unshare-all", "--cap-drop", "ALL", *inside],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PROBE_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bwrap does not run here: {error}"
    if done.returncode == 0:
        return True
    said = done.stderr.strip().splitlines()
    return f"bwrap does not work here: {said[-1] if said else f'exit code {done.returncode}'}"


def compile_filter() -> Filter | str:
    """Compile the seccomp filter with libseccomp; or say why it cannot be."""
    try:
        import pyseccomp
    except (ImportError, OSError, RuntimeError) as error:
        return f"seccomp needs pyseccomp and libseccomp: {error}"
    try:
        rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
        deny = pyseccomp.ERRNO(errno.EPERM)
        for name in DENIED.split():
            _add_known(rules, deny, name)
        # ENOSYS makes the C library fall back to clone, whose flags a filter can see.
        rules.add_rule(pyseccomp.ERRNO(errno.ENOSYS), "clone3")
        rules.add_rule(deny, "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, CLONE_THREAD, 0))
        for flag in CLONE_NEW_NAMESPACES:
            rules.add_rule(deny, "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, flag, flag))
        for name, numbers in (("ioctl", DENIED_IOCTLS), ("fcntl", DENIED_FCNTLS)):
            for number in numbers:
                rules.add_rule(deny, name, pyseccomp.Arg(1, pyseccomp.MASKED_EQ, LOW_32, number))
        for number in DENIED_PRCTLS:
            rules.add_rule(deny, "prctl", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, LOW_32, number))
        for flags in UNCOUNTED_MAPPINGS:
            rules.add_rule(deny, "mmap", pyseccomp.Arg(3, pyseccomp.MASKED_EQ, flags, flags))
        for name in OTHERS_BY_PID:
            rules.add_rule(deny, name, pyseccomp.Arg(0, pyseccomp.NE, 0))
        with tempfile.TemporaryFile() as file:
            rules.export_bpf(file)
            file.seek(0)
            return Filter(file.read(), pyseccomp.resolve_syscall(pyseccomp.system_arch(), "tgkill"))
    except OSError as error:
        return f"the seccomp filter does not compile here: {error}"


def _add_known(rules: Any, deny: int, name: str) -> None:
    for call in (name, NUMBERS.get(name)):
        try:
            if call is not None:
                rules.add_rule(deny, call)
            return
        except OSError as error:
            # What this architecture does not have cannot be called; what libseccomp does not know may have a number.
            if error.errno not in (errno.EINVAL, errno.EFAULT, errno.EDOM):
                raise


def build_ruleset(rules: Iterable[tuple[Path, bool]]) -> Any:
    """Build the Landlock ruleset (an object with `fileno` and `close`); or say why it cannot be."""
    try:
        import landlockpy as landlock
    except ImportError as error:
        return f"landlock needs landlockpy: {error}"
    try:
        abi = landlock.abi_version()
        if not abi:
            return "this kernel has no Landlock, or it is switched off"
        ruleset = landlock.Ruleset(
            handled_fs=landlock.fs_for_abi(abi),
            handled_net=landlock.net_for_abi(abi),
            scoped=landlock.scope_for_abi(abi),
        )
        read_file, read_folder = landlock.AccessFS.READ_FILE, landlock.AccessFS.READ_DIR
        for path, readable in rules:
            if path.is_dir():
                ruleset.allow_path(path, read_folder | read_file if readable else read_folder)
            elif readable and path.exists():
                ruleset.allow_path(path, read_file)
    except OSError as error:
        return f"the Landlock ruleset cannot be built: {error}"
    return ruleset
