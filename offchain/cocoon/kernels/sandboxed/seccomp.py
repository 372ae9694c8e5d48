"""A system call filter for the process that runs kernels: it may compute and talk through its pipes, nothing else.

Every call that is not listed fails with EPERM: none opens a file, makes a socket, starts a program, or reaches another
process. Needs neither root nor a namespace, so it works in containers.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

__all__ = ["SeccompUnavailable", "restrict"]

_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER, _FLAG_TSYNC = 1, 1
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_CLONE_THREAD = 0x00010000
_LOAD, _JEQ, _JSET, _RETURN = 0x20, 0x15, 0x45, 0x06
_AT_NUMBER, _AT_ARCHITECTURE, _AT_FIRST_ARGUMENT = 0, 4, 16

_NAMES = """
    read write close fstat poll ppoll lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask rt_sigreturn
    pread64 readv writev select pselect6 sched_yield mremap msync mincore madvise dup nanosleep getpid exit
    uname gettimeofday getrusage sysinfo times getuid getgid geteuid getegid getppid sigaltstack gettid futex
    sched_getaffinity sched_getparam sched_getscheduler clock_gettime clock_getres clock_nanosleep exit_group
    set_robust_list get_robust_list epoll_wait epoll_pwait eventfd2 getcpu getrandom membarrier rseq
    restart_syscall
"""
_X86 = dict(
    read=0, write=1, close=3, fstat=5, poll=7, ppoll=271, lseek=8, mmap=9, mprotect=10, munmap=11, brk=12,
    rt_sigaction=13, rt_sigprocmask=14, rt_sigreturn=15, pread64=17, readv=19, writev=20, select=23, pselect6=270,
    sched_yield=24, mremap=25, msync=26, mincore=27, madvise=28, dup=32, nanosleep=35, getpid=39, exit=60,
    sched_getparam=143, sched_getscheduler=145, uname=63, gettimeofday=96, getrusage=98, sysinfo=99, times=100,
    getuid=102, getgid=104, geteuid=107, getegid=108, getppid=110, sigaltstack=131, gettid=186, futex=202,
    sched_getaffinity=204, clock_gettime=228, clock_getres=229, clock_nanosleep=230, exit_group=231,
    set_robust_list=273, get_robust_list=274, epoll_wait=232, epoll_pwait=281, eventfd2=290, getcpu=309,
    getrandom=318, membarrier=324, rseq=334, restart_syscall=219, clone=56, clone3=435, tgkill=234, ioctl=16,
    seccomp=317,
)  # fmt: skip
_ARM = dict(
    read=63, write=64, close=57, fstat=80, ppoll=73, lseek=62, mmap=222, mprotect=226, munmap=215, brk=214,
    rt_sigaction=134, rt_sigprocmask=135, rt_sigreturn=139, pread64=67, readv=65, writev=66, pselect6=72,
    sched_yield=124, mremap=216, msync=227, mincore=232, madvise=233, dup=23, nanosleep=101, getpid=172, exit=93,
    sched_getparam=121, sched_getscheduler=120, uname=160, gettimeofday=169, getrusage=165, sysinfo=179, times=153,
    getuid=174, getgid=176, geteuid=175, getegid=177, getppid=173, sigaltstack=132, gettid=178, futex=98,
    sched_getaffinity=123, clock_gettime=113, clock_getres=114, clock_nanosleep=115, exit_group=94,
    set_robust_list=99, get_robust_list=100, epoll_pwait=22, eventfd2=19, getcpu=168, getrandom=278, membarrier=283,
    rseq=293, restart_syscall=128, clone=220, clone3=435, tgkill=131, ioctl=29, seccomp=277,
)  # fmt: skip
_MACHINES = {"x86_64": (0xC000003E, _X86), "aarch64": (0xC00000B7, _ARM)}


class SeccompUnavailable(OSError):
    """This system has no such filter."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def restrict(*, device_calls: bool = False) -> None:
    """From here on, for all threads and for good. device_calls: ioctl, which graphics cards need.

    Raises SeccompUnavailable.
    """
    machine = _MACHINES.get(platform.machine())
    if machine is None or platform.system() != "Linux":
        raise SeccompUnavailable(f"there is no system call filter for {platform.system()} on {platform.machine()}")
    text = _assemble(*machine, device_calls)
    libc = ctypes.CDLL(None, use_errno=True)
    program = _Program(len(text) // 8, text)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise SeccompUnavailable(ctypes.get_errno(), "no_new_privs is not available")
    if libc.syscall(machine[1]["seccomp"], _SET_MODE_FILTER, _FLAG_TSYNC, ctypes.byref(program)) != 0:
        raise SeccompUnavailable(ctypes.get_errno(), "the system call filter was refused")


def _assemble(architecture: int, numbers: dict[str, int], device_calls: bool) -> bytes:
    """BPF. Each rule compares the call's number and returns, or goes on to the next one."""

    def line(code: int, yes: int, no: int, value: int) -> bytes:
        return struct.pack("=HBBI", code, yes, no, value)

    deny = line(_RETURN, 0, 0, _ERRNO | errno.EPERM)
    allow = line(_RETURN, 0, 0, _ALLOW)
    lines = [
        line(_LOAD, 0, 0, _AT_ARCHITECTURE),
        line(_JEQ, 1, 0, architecture),
        line(_RETURN, 0, 0, _KILL),
        line(_LOAD, 0, 0, _AT_NUMBER),
    ]
    names = [*_NAMES.split(), *(["ioctl"] if device_calls else [])]
    for name in names:
        if name in numbers:
            lines += [line(_JEQ, 0, 1, numbers[name]), allow]
    # so that the C library makes threads by clone, whose flags can be looked at
    lines += [line(_JEQ, 0, 1, numbers["clone3"]), line(_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
    lines += [
        line(_JEQ, 0, 4, numbers["clone"]),
        line(_LOAD, 0, 0, _AT_FIRST_ARGUMENT),
        line(_JSET, 0, 1, _CLONE_THREAD),
        allow,
        deny,
    ]
    # abort() signals its own process; no other one may be signalled
    lines += [
        line(_JEQ, 0, 4, numbers["tgkill"]),
        line(_LOAD, 0, 0, _AT_FIRST_ARGUMENT),
        line(_JEQ, 0, 1, os.getpid()),
        allow,
        deny,
    ]
    return b"".join([*lines, deny])
