"""A scenario as a program to run on a real kernel: in C, and in Python with ctypes.

Previous: explore.py; next: shortest.py.

Both are whole files that need nothing of this package. They make the calls in a child process, in a
place where nothing else is mapped, and show after each the VMAs there, in pages, and how often each
segment is attached; and once more when the child has ended: who is counted then is lost for good.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from vmakernel import scenario as sc
from vmakernel.flags import InputError
from vmakernel.scenario import Call, Scenario


class ProgramError(InputError):
    """A scenario that cannot be written as a program; says which call is in the way."""


_ADVICE: Final = {
    "normal": "MADV_NORMAL",
    "seq": "MADV_SEQUENTIAL",
    "rand": "MADV_RANDOM",
    "dontdump": "MADV_DONTDUMP",
    "dodump": "MADV_DODUMP",
    "dontfork": "MADV_DONTFORK",
    "dofork": "MADV_DOFORK",
    "huge": "MADV_HUGEPAGE",
    "nohuge": "MADV_NOHUGEPAGE",
}


def _prot(prot: str) -> str:
    names = {"r": "PROT_READ", "w": "PROT_WRITE", "x": "PROT_EXEC"}
    return " | ".join([names[letter] for letter in prot if letter in names]) or "PROT_NONE"


def _mmap(call: sc.Mmap) -> str:
    if call.source != "anon":
        raise ProgramError(f"{str(call)!r} maps a file: only anonymous memory can be written out")
    how = ["MAP_SHARED" if call.shared else "MAP_PRIVATE", "MAP_ANONYMOUS", "MAP_FIXED"]
    how += ["MAP_NORESERVE"] * call.noreserve
    place = f"at({call.at}), len({call.pages})"
    return f"mmap({place}, {_prot(call.prot)}, {' | '.join(how)}, -1, 0)"


def _mremap(call: sc.Mremap) -> str:
    place = f"at({call.at}), len({call.old}), len({call.new})"
    if call.to is not None:
        return f"mremap({place}, MREMAP_MAYMOVE | MREMAP_FIXED, at({call.to}))"
    return f"mremap({place}, {'MREMAP_MAYMOVE' if call.maymove else 0})"


# Written so that the one text is C and Python at once.
_CALLS: Final[Mapping[type[Call], Callable[[Any], str]]] = {
    sc.Shmat: lambda c: f"shmat(segment_{c.segment}, at({c.at}), {'SHM_RDONLY' if c.ro else 0})",
    sc.Shmdt: lambda c: f"shmdt(at({c.at}))",
    sc.Mmap: _mmap,
    sc.Munmap: lambda c: f"munmap(at({c.at}), len({c.pages}))",
    sc.Mprotect: lambda c: f"mprotect(at({c.at}), len({c.pages}), {_prot(c.prot)})",
    sc.Mremap: _mremap,
    sc.Madvise: lambda c: f"madvise(at({c.at}), len({c.pages}), {_ADVICE[c.advice]})",
    sc.Mlock: lambda c: f"mlock(at({c.at}), len({c.pages}))",
    sc.Munlock: lambda c: f"munlock(at({c.at}), len({c.pages}))",
    sc.Touch: lambda c: f"touch(at({c.at}), len({c.pages}))",
}


def _written(call: Call) -> str:
    if type(call) not in _CALLS:
        raise ProgramError(f"{call.op!r} cannot be written as a program; leave the call out")
    return _CALLS[type(call)](call)


def _reach(scenario: Scenario) -> int:
    """Return how many pages the scenario needs, and some to grow."""
    ends = [1]
    sizes = dict(scenario.segments)
    for call in scenario.calls:
        size = max([getattr(call, name, 0) for name in ("pages", "old", "new")])
        if isinstance(call, sc.Shmat):
            size = sizes[call.segment]
        ends += [getattr(call, "at", 0) + size, (getattr(call, "to", None) or 0) + size]
    return max(ends) + 16


def _filled(template: str, scenario: Scenario, note: str, comment: str, **parts: str) -> str:
    story = str(scenario).splitlines()
    if note:
        story += ["", *note.splitlines()]
    told = "\n".join([f"{comment}{line}".rstrip() for line in story])
    fields = {"STORY": told, "PAGES": str(_reach(scenario)), **parts}
    for name, value in fields.items():
        template = template.replace(f"@{name}@", value)
    return template


# --- C -------------------------------------------------------------------------------------------

_C: Final = """\
/*
@STORY@
 *
 * Build and run:  cc -Wall -o shortest shortest.c && ./shortest
 * Exit status 1: an attach was lost. Such a segment stays in memory until the machine restarts.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGES = @PAGES@ };

static char *base;
static size_t page;
@GLOBALS@
static void *at(int n) { return base + n * (long)page; }
static size_t len(int n) { return n * page; }
@TOUCH@
@ATTACHES@
static void show(const char *call, long result)
{
	char line[512], access[8];
	unsigned long start, end, first = (unsigned long)base;
	FILE *maps;

	printf("%s%s%s\\n", call, result == -1 ? ": " : "", result == -1 ? strerror(errno) : "");
	maps = fopen("/proc/self/maps", "r");
	while (maps && fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx %7s", &start, &end, access) == 3 &&
			start >= first && end <= first + PAGES * page)
			printf("    %lu-%lu %s\\n", (start - first) / page, (end - first) / page, access);
	}
	if (maps)
		fclose(maps);
@SHOW@
	fflush(stdout);
}

static void calls(void)
{
@CALLS@
}

int main(void)
{
	int status = 0;
	unsigned long lost = 0;

	page = sysconf(_SC_PAGESIZE);
	/* A place between two pages of another kind, which nothing in it can merge with. */
	base = mmap(NULL, (PAGES + 2) * page, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (base == MAP_FAILED) {
		perror("mmap");
		return 2;
	}
	base += page;
	munmap(base, PAGES * page);
@CREATE@
	fflush(stdout);
	if (fork() == 0) {
		calls();
		_exit(0);
	}
	wait(&status);
	if (status != 0) {
		printf("the child ended with status %d\\n", status);
		lost = 2;
	}
@AFTER@
	return (int)lost;
}
"""

_C_TOUCH: Final = """
static int touch(char *start, size_t length)
{
	for (size_t n = 0; n < length; n += page)
		*(volatile char *)(start + n) = 1;
	return 0;
}
"""
_C_ATTACHES: Final = """
static void attaches(const char *name, int segment)
{
	struct shmid_ds state;

	if (shmctl(segment, IPC_STAT, &state) == 0)
		printf("    nattch %s = %lu\\n", name, (unsigned long)state.shm_nattch);
}
"""
_C_CREATE: Final = """\
	segment_@A@ = shmget(IPC_PRIVATE, len(@N@), IPC_CREAT | 0600);
	if (segment_@A@ == -1) {
		perror("shmget");
		return 2;
	}"""
_C_AFTER: Final = """\
	{
		struct shmid_ds state;

		if (shmctl(segment_@A@, IPC_STAT, &state) == 0) {
			printf("after the end: nattch @A@ = %lu, %s\\n", (unsigned long)state.shm_nattch,
				state.shm_nattch ? "lost" : "nothing is lost");
			if (state.shm_nattch && !lost)
				lost = 1;
		}
		shmctl(segment_@A@, IPC_RMID, NULL);
	}"""


def as_c(scenario: Scenario, note: str = "") -> str:
    """Return the scenario as a C program, `note` in the comment at its top. Raises ProgramError."""
    names = [segment.name for segment in scenario.segments]
    lines = [f'\tshow("{call}", (long){_written(call)});' for call in scenario.calls]
    touches = any(isinstance(call, sc.Touch) for call in scenario.calls)
    return _filled(
        _C,
        scenario,
        note,
        " * ",
        GLOBALS="".join([f"static int segment_{name};\n" for name in names]),
        TOUCH=_C_TOUCH if touches else "",
        ATTACHES=_C_ATTACHES if names else "",
        SHOW="\n".join([f'\tattaches("{name}", segment_{name});' for name in names]),
        CALLS="\n".join(lines),
        CREATE="\n".join(
            [_C_CREATE.replace("@A@", name).replace("@N@", str(n)) for name, n in scenario.segments]
        ),
        AFTER="\n".join([_C_AFTER.replace("@A@", name) for name in names]),
    )


# --- Python --------------------------------------------------------------------------------------

_PYTHON: Final = '''\
"""A program of memory calls, to be run on a 64-bit Linux: python3 shortest.py

@STORY@

Exit status 1: an attach was lost. Such a segment stays in memory until the machine restarts.
"""
import ctypes
import mmap as constants
import os
import struct
import sys

PAGE = constants.PAGESIZE
PAGES = @PAGES@
PROT_NONE, PROT_READ, PROT_WRITE, PROT_EXEC = 0, 1, 2, 4
MAP_SHARED, MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS, MAP_NORESERVE = 1, 2, 16, 32, 0x4000
MREMAP_MAYMOVE, MREMAP_FIXED = 1, 2
MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_DONTFORK, MADV_DOFORK = 0, 1, 2, 10, 11
MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_DONTDUMP, MADV_DODUMP = 14, 15, 16, 17
IPC_PRIVATE, IPC_CREAT, IPC_RMID, IPC_STAT, SHM_RDONLY = 0, 0o1000, 0, 2, 0o10000

libc = ctypes.CDLL(None, use_errno=True)


def call(name):
    function = getattr(libc, name)
    function.restype = ctypes.c_ssize_t
    return lambda *values: function(*[ctypes.c_ssize_t(v) if type(v) is int else v for v in values])


mmap, munmap, mprotect, mremap = call("mmap"), call("munmap"), call("mprotect"), call("mremap")
madvise, mlock, munlock = call("madvise"), call("mlock"), call("munlock")
shmget, shmat, shmdt, shmctl = call("shmget"), call("shmat"), call("shmdt"), call("shmctl")


def at(n):
    return base + n * PAGE


def len(n):
    return n * PAGE


def touch(start, length):
    for place in range(start, start + length, PAGE):
        ctypes.memset(place, 1, 1)
    return 0


def attaches(segment):
    state = ctypes.create_string_buffer(256)
    if shmctl(segment, IPC_STAT, state) == -1:
        return 0
    return struct.unpack_from("Q", state, 88)[0]  # shm_nattch in struct shmid64_ds


def show(text, result):
    print(text + (": " + os.strerror(ctypes.get_errno()) if result == -1 else ""))
    with open("/proc/self/maps") as maps:
        for line in maps:
            place, access = line.split()[:2]
            start, end = [(int(part, 16) - base) / PAGE for part in place.split("-")]
            if start >= 0 and end <= PAGES:
                print("    %d-%d %s" % (start, end, access))
    for name, segment in segments.items():
        print("    nattch", name, "=", attaches(segment))


# A place between two pages of another kind, which nothing in it can merge with.
base = mmap(0, (PAGES + 2) * PAGE, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0) + PAGE
munmap(base, PAGES * PAGE)
segments = {}
@CREATE@
if -1 in segments.values():
    sys.exit("shmget: " + os.strerror(ctypes.get_errno()))
sys.stdout.flush()
if os.fork() == 0:
@CALLS@
    sys.stdout.flush()
    os._exit(0)
status = os.wait()[1]
lost = 0
if status:
    print("the child ended with status", status)
    lost = 2
for name, segment in segments.items():
    left = attaches(segment)
    print("after the end: nattch %s = %d, %s" % (name, left, "lost" if left else "nothing is lost"))
    shmctl(segment, IPC_RMID, 0)
    lost = lost or int(left > 0)
sys.exit(lost)
'''


def as_python(scenario: Scenario, note: str = "") -> str:
    """Return the scenario as a Python program, `note` at its top. Raises ProgramError."""
    create = [
        f'segment_{name} = segments["{name}"] = shmget(IPC_PRIVATE, len({n}), IPC_CREAT | 0o600)'
        for name, n in scenario.segments
    ]
    lines = [f'    show("{call}", {_written(call)})' for call in scenario.calls]
    return _filled(
        _PYTHON, scenario, note, "    ", CREATE="\n".join(create), CALLS="\n".join(lines)
    )
