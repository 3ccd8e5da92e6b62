"""The program that `vmakernel.live` starts: it makes the calls of a scenario on the running kernel.

It reads one request a line on standard input and answers each with one line of JSON. Every scenario
runs in a child forked from this small process, in an arena of its own that is mapped after the
fork, so no anon_vma chain is inherited there. Nothing outside the arena is changed.

A segment is removed (IPC_RMID) as soon as this process has attached it once, as its *keeper*: from
then on the kernel destroys it when the last process is gone, however that happens. The keeper is
not counted in what is reported, and lets go where the scenario says `rmid`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import re
import resource
import select
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from typing import IO, Any

PAGE = os.sysconf("SC_PAGESIZE")
ARENAS = (64 << 30, 128 << 30, 32 << 30, 16 << 30)  # far from where the kernel maps by itself
GUARD = 64 << 20  # kept free around the arena, so that nothing of Python's can touch it
SLACK = 256 << 20  # what Python and the C library may still grow by

PROT = {"r": 1, "w": 2, "x": 4}
MAP_SHARED, MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS, MAP_NORESERVE = 1, 2, 0x10, 0x20, 0x4000
MREMAP_MAYMOVE, MREMAP_FIXED = 1, 2
MADV_DONTFORK = 10
ADVICE = {
    "normal": 0, "rand": 1, "seq": 2, "dontfork": MADV_DONTFORK, "dofork": 11,
    "huge": 14, "nohuge": 15, "dontdump": 16, "dodump": 17,
}  # fmt: skip
IPC_CREAT, IPC_RMID, IPC_STAT, SHM_RDONLY = 0o1000, 0, 2, 0o10000
PR_SET_PDEATHSIG, PR_GET_NAME, PR_SET_VMA = 1, 16, 0x53564D41
PR_GET_MDWE, PR_GET_MEMORY_MERGE = 66, 68
CLONE_NEWNS, CLONE_NEWUSER, MS_REC, MS_PRIVATE = 0x20000, 0x10000000, 0x4000, 0x40000
UFFDIO_API, UFFDIO_REGISTER, UFFDIO_UNREGISTER = 0xC018AA3F, 0xC020AA00, 0x8010AA01
UFFD_FEATURE_SIGBUS, UFFDIO_REGISTER_MODE_MISSING, UFFD_USER_MODE_ONLY = 1 << 7, 1, 1


class Unsupported(Exception):
    """This system cannot run the scenario; the message says why."""


class Libc:
    """The C library: integers in, the result out; OSError where it is -1."""

    ADDRESSES = ("mmap", "mremap", "shmat", "read", "write", "syscall")  # 64 bits come back

    def __init__(self) -> None:
        self.library = ctypes.CDLL(None, use_errno=True)

    def __getattr__(self, name: str) -> Any:
        function = getattr(self.library, name, None)
        if function is None:
            raise Unsupported(f"the C library has no {name}()")
        function.restype = ctypes.c_ssize_t if name in self.ADDRESSES else ctypes.c_int

        def call(*arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
            ctypes.set_errno(0)
            wide = [ctypes.c_ssize_t(a) if isinstance(a, int) else a for a in arguments]
            result: int = function(*wide)
            if result == -1:
                number = ctypes.get_errno()
                if number == errno.ENOSYS:
                    raise Unsupported(f"{name}() is not there (ENOSYS: no such call, or seccomp)")
                raise OSError(number, os.strerror(number))
            return result

        setattr(self, name, call)
        return call


libc = Libc()


def error_name(error: OSError) -> str:
    """The name of an errno, such as ENOMEM."""
    return errno.errorcode.get(error.errno or 0, str(error.errno))


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


# -- SysV segments ---------------------------------------------------------------------------------


class Segment:
    """A SysV segment, its keeper attached and already removed."""

    def __init__(self, pages: int) -> None:
        try:
            self.id: int = libc.shmget(0, pages * PAGE, IPC_CREAT | 0o600)
            try:
                self.keeper: int | None = libc.shmat(self.id, 0, 0)
            finally:
                libc.shmctl(self.id, IPC_RMID, None)
        except OSError as error:
            why = f"SysV shared memory is refused ({error_name(error)})"
            raise Unsupported(
                f"{why}: a seccomp filter, or a limit that `ipcs -lm` shows"
            ) from None
        libc.madvise(self.keeper, pages * PAGE, MADV_DONTFORK)
        if self._stat() != (pages * PAGE, 1):
            raise Unsupported("shmctl(IPC_STAT) does not count the attaches of a segment")

    def _stat(self) -> tuple[int, int]:
        buffer = ctypes.create_string_buffer(256)
        libc.shmctl(self.id, IPC_STAT, buffer)
        size, nattch = struct.unpack_from("Q32xQ", buffer, 48)  # struct shmid64_ds, 64 bits
        return size, nattch

    def nattch(self) -> int:
        """How often it is attached, the keeper aside; -22 when the segment is gone."""
        try:
            return self._stat()[1] - (self.keeper is not None)
        except OSError:
            return -errno.EINVAL

    def release(self) -> None:
        """Detach the keeper."""
        if self.keeper is not None:
            libc.shmdt(self.keeper)
            self.keeper = None


# -- a file system in user space -------------------------------------------------------------------


class Fuse:
    """One FUSE file, mounted where only this process and its children see it."""

    def __init__(self) -> None:
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            raise Unsupported("FUSE: /dev/fuse may not be opened by this user, or is not there")
        try:
            self._unshare()
            libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None)
            device = os.open("/dev/fuse", os.O_RDWR)  # in the namespace it is mounted in
            place = next(d for d in ("/mnt", "/media", "/srv", "/sys") if os.path.isdir(d))
            options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
            libc.mount(b"vmakernel", place.encode(), b"fuse", 0, options.encode())
        except OSError as error:
            raise Unsupported(f"FUSE: it cannot be mounted ({error_name(error)})") from None
        self.path = place + "/file"
        server = os.getpid()
        if os.fork() == 0:
            die_with_parent(server)
            os.closerange(0, 3)
            serve_fuse(device)
        os.close(device)

    @staticmethod
    def _unshare() -> None:
        """Leave for a mount namespace of our own, and for a user namespace if that takes one."""
        try:
            libc.unshare(CLONE_NEWNS)
        except PermissionError:
            uid, gid = os.getuid(), os.getgid()
            libc.unshare(CLONE_NEWUSER | CLONE_NEWNS)
            for name, text in (
                ("setgroups", "deny"),
                ("uid_map", f"{uid} {uid} 1"),
                ("gid_map", f"{gid} {gid} 1"),
            ):
                with open(f"/proc/self/{name}", "w") as file:
                    file.write(text)


def serve_fuse(device: int) -> None:
    """Answer the kernel's requests about a directory (node 1) and its one file (node 2)."""

    def attributes(node: int) -> bytes:
        mode, size = (0o040700, 0) if node == 1 else (0o100600, 1 << 40)
        owner = os.getuid(), os.getgid()
        return struct.pack("6Q3I7I", node, size, *[0] * 7, mode, 1, *owner, 0, PAGE, 0)

    while True:
        try:
            request = os.read(device, 1 << 18)
        except OSError as error:
            if error.errno in (errno.EINTR, errno.ENOENT, errno.EAGAIN):
                continue
            os._exit(0)  # unmounted
        _, opcode, unique, node = struct.unpack_from("IIQQ", request)
        body = request[40:]
        answer, failure = b"", 0
        if opcode in (2, 36, 42):  # FORGET, INTERRUPT, BATCH_FORGET: no answer
            continue
        if opcode == 26:  # INIT: protocol 7.31, no extras, writes of up to 64 KiB
            answer = struct.pack("4I2H2I2H8I", 7, 31, 0, 0, 0, 0, 1 << 16, 1, 0, 0, *[0] * 8)
        elif opcode == 1 and body == b"file\0":  # LOOKUP
            answer = struct.pack("4Q2I", 2, 0, 3600, 3600, 0, 0) + attributes(2)
        elif opcode == 1:
            failure = errno.ENOENT
        elif opcode in (3, 4):  # GETATTR, SETATTR
            answer = struct.pack("Q2I", 3600, 0, 0) + attributes(node)
        elif opcode in (14, 27):  # OPEN, OPENDIR: keep the cache
            answer = struct.pack("Q2I", 0, 2, 0)
        elif opcode == 15:  # READ: all zeroes
            answer = bytes(struct.unpack_from("I", body, 16)[0])
        elif opcode == 16:  # WRITE: swallowed
            answer = struct.pack("2I", struct.unpack_from("I", body, 16)[0], 0)
        elif opcode not in (18, 20, 25, 29):  # RELEASE, FSYNC, FLUSH, RELEASEDIR: fine
            failure = errno.ENOSYS
        with contextlib.suppress(OSError):  # the request was interrupted meanwhile
            os.write(device, struct.pack("IiQ", 16 + len(answer), -failure, unique) + answer)


# -- the process the scenario runs in --------------------------------------------------------------


class Arena:
    """The pages a scenario may use, and its calls upon them."""

    def __init__(
        self, pages: int, file_pages: int, segments: dict[str, Segment], fuse: str
    ) -> None:
        self.pages, self.file_pages, self.segments, self.fuse = pages, file_pages, segments, fuse
        self.sources: dict[bytes, str] = {b"": "anon", b"/dev/zero (deleted)": "shanon"}
        self.files: dict[str, int] = {}
        self.pipe = os.pipe()
        self.uffd: int | None = None
        self.forked: int | None = None
        self.base = self._find()

    def _find(self) -> int:
        """An address with nothing near it, the same in every run unless it is taken."""
        length = self.pages * PAGE + 2 * GUARD
        for hint in ARENAS:
            flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
            try:
                start = libc.mmap(hint - GUARD, length, 0, flags, -1, 0)
            except OSError as error:
                name = error_name(error)
                raise Unsupported(f"no room for the arena ({name}); raise `ulimit -v`") from None
            libc.munmap(start, length)
            if start == hint - GUARD:
                return hint
        raise Unsupported("no free range of addresses was found for the arena")

    def limit_memory(self) -> None:
        """Leave room for the arena and for growing while it is moved, and for little else."""
        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * PAGE
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        wanted = used + 2 * self.pages * PAGE + SLACK
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    def _at(self, page: str) -> int:
        return self.base + int(page) * PAGE

    def do(self, op: str) -> dict[str, Any]:
        """Make the call; what is to be recorded of it but the layout. OSError, Unsupported."""
        match op.split():
            case ["shmat", name, at, *ro]:
                libc.shmat(self.segments[name].id, self._at(at), SHM_RDONLY if ro else 0)
            case ["shmdt", at]:
                libc.shmdt(self._at(at))
            case ["mmap", at, pages, prot, sharing, source, *pgoff]:
                flags = MAP_FIXED | (MAP_SHARED if sharing[0] == "s" else MAP_PRIVATE)
                flags |= MAP_NORESERVE if sharing.endswith("N") else 0
                flags |= MAP_ANONYMOUS if source == "anon" else 0
                fd = -1 if source == "anon" else self._file(source)
                offset = int(pgoff[0]) * PAGE if pgoff else 0
                libc.mmap(self._at(at), int(pages) * PAGE, bits(prot), flags, fd, offset)
            case ["mprotect", at, pages, prot]:
                libc.mprotect(self._at(at), int(pages) * PAGE, bits(prot))
            case ["mremap", at, old, new, *how]:
                return self._mremap(self._at(at), int(old) * PAGE, int(new) * PAGE, how)
            case ["madvise", at, pages, advice]:
                if "huge" in advice and not os.path.isdir("/sys/kernel/mm/transparent_hugepage"):
                    raise Unsupported("this kernel has no transparent huge pages")
                libc.madvise(self._at(at), int(pages) * PAGE, ADVICE[advice])
            case [("munmap" | "mlock" | "munlock") as name, at, pages]:
                getattr(libc, name)(self._at(at), int(pages) * PAGE)
            case ["rfp", at, pages, pgoff]:
                libc.remap_file_pages(self._at(at), int(pages) * PAGE, 0, int(pgoff), 0)
            case ["name", at, pages, *name]:
                self._probe_naming()
                text = name[0].encode() if name else None
                libc.prctl(PR_SET_VMA, 0, self._at(at), int(pages) * PAGE, text)
            case [("uffd" | "unuffd") as name, at, pages]:
                self._userfault(name == "uffd", self._at(at), int(pages) * PAGE)
            case [("touch" | "read") as name, at, pages]:
                return self._access(name == "touch", int(at), int(pages))
            case ["fork"]:
                self._fork()
            case ["killchild"]:
                self.kill_forked()
            case _:
                raise Unsupported(f"there is no call {op!r}")
        return {}

    def _file(self, source: str) -> int:
        """The file descriptor of a source, opened at first use."""
        if source not in self.files:
            try:
                fd = self._open(source)
            except (OSError, AttributeError) as error:  # no os.memfd_create in an old C library
                raise Unsupported(f"a {source} cannot be had ({error})") from None
            self.files[source] = fd
            self.sources[os.readlink(f"/proc/self/fd/{fd}").encode()] = source
        return self.files[source]

    def _open(self, source: str) -> int:
        if source == "fuse":
            return os.open(self.fuse, os.O_RDWR)
        fd = os.memfd_create("vmakernel") if source == "memfd" else temporary_file()
        os.ftruncate(fd, self.file_pages * PAGE)
        return fd

    def _mremap(self, at: int, old: int, new: int, how: list[str]) -> dict[str, Any]:
        flags = {"m": MREMAP_MAYMOVE, "f": MREMAP_MAYMOVE | MREMAP_FIXED}[how[0]] if how else 0
        to = self._at(how[1]) if how and how[0] == "f" else 0
        result = libc.mremap(at, old, new, flags, to)
        page = (result - self.base) // PAGE
        if 0 <= page < self.pages:
            return {"ret": page}
        return {"ret": -1, "note": "moved out of the arena"}

    def _access(self, write: bool, at: int, pages: int) -> dict[str, Any]:
        """Have the kernel write or read each page for us: what would be a signal is EFAULT."""
        out, into = self.pipe
        for page in range(at, at + pages):
            try:
                if write:
                    os.write(into, b"\0")
                    libc.read(out, self.base + page * PAGE, 1)
                else:
                    libc.write(into, self.base + page * PAGE, 1)
                    os.read(out, 1)
            except OSError as error:
                if write:
                    os.read(out, 1)
                needed = "w" if write else "rwx"
                allowed = any(
                    line.start <= page < line.end and set(needed) & set(line.perms[:3])
                    for line in self.layout(flags=True)
                    if not line.key
                )
                return {
                    "errno": error_name(error),
                    "note": "SIGBUS" if allowed else "SIGSEGV",
                }
        return {}

    def _probe_naming(self) -> None:
        """Unsupported unless a page outside the arena can be named."""
        page = libc.mmap(0, PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        try:
            libc.prctl(PR_SET_VMA, 0, page, PAGE, b"vmakernel")
        except OSError:
            raise Unsupported("this kernel cannot name anonymous memory") from None
        finally:
            libc.munmap(page, PAGE)

    def _userfault(self, register: bool, at: int, length: int) -> None:
        if self.uffd is None:
            number = 323 if os.uname().machine == "x86_64" else 282
            try:
                try:
                    self.uffd = libc.syscall(number, UFFD_USER_MODE_ONLY)
                except OSError:
                    self.uffd = libc.syscall(number, 0)  # before 5.11
                # a fault there must not wait for an answer that never comes
                api = struct.pack("3Q", 0xAA, UFFD_FEATURE_SIGBUS, 0)
                fcntl.ioctl(self.uffd, UFFDIO_API, api)
            except OSError as error:
                raise Unsupported(f"userfaultfd is refused ({error_name(error)})") from None
        if register:
            mode = UFFDIO_REGISTER_MODE_MISSING
            fcntl.ioctl(self.uffd, UFFDIO_REGISTER, struct.pack("4Q", at, length, mode, 0))
        else:
            fcntl.ioctl(self.uffd, UFFDIO_UNREGISTER, struct.pack("2Q", at, length))

    def _fork(self) -> None:
        parent = os.getpid()
        self.forked = os.fork()
        if self.forked == 0:
            die_with_parent(parent)
            while True:
                signal.pause()

    def kill_forked(self) -> None:
        """End the forked child, if there is one."""
        if self.forked is not None:
            os.kill(self.forked, signal.SIGKILL)
            os.waitpid(self.forked, 0)
            self.forked = None

    def layout(self, flags: bool = False) -> list[Line]:
        """What /proc/self/maps shows of the arena, or smaps where the flags are asked for."""
        end = self.base + self.pages * PAGE + GUARD
        lines: list[Line] = []
        ours = False
        for text in proc_lines("/proc/self/smaps" if flags else "/proc/self/maps"):
            words = text.split(None, 5)
            if b"-" in words[0]:
                start, stop = (int(number, 16) for number in words[0].split(b"-"))
                if start >= end:
                    break
                ours = start >= self.base
                if ours:
                    lines.append(self._line(start, stop, words))
            elif ours and words[0] == b"VmFlags:":
                lines[-1].flags = b" ".join(text.split()[1:]).decode()
            elif ours and words[0] == b"ProtectionKey:":
                lines[-1].key = int(words[1])
        return lines

    def _line(self, start: int, stop: int, words: list[bytes]) -> Line:
        path = words[5].rstrip() if len(words) > 5 else b""
        source = self.sources.get(path)
        if path.startswith(b"/SYSV"):
            names = [name for name, segment in self.segments.items() if segment.id == int(words[4])]
            source = f"shm:{names[0]}" if names else None
        if named := re.fullmatch(rb"\[anon(_shmem)?:(.*)\]", path):
            source = ("shanon:" if named[1] else "anon:") + named[2].decode("latin-1")
        return Line(
            (start - self.base) // PAGE,
            (stop - self.base) // PAGE,
            words[1].decode(),
            int(words[2], 16) // PAGE,
            source or "?" + path.decode("latin-1").replace(" ", "_"),
        )


class Line:
    """One line of a layout."""

    def __init__(self, start: int, end: int, perms: str, pgoff: int, source: str) -> None:
        self.start, self.end, self.perms, self.pgoff, self.source = start, end, perms, pgoff, source
        self.flags, self.key = "", 0

    def __str__(self) -> str:
        return f"{self.start}-{self.end} {self.perms} {self.pgoff} {self.source}"


def bits(prot: str) -> int:
    """A protection's letters as the number mmap() takes."""
    return 0 if prot == "none" else sum(PROT[letter] for letter in prot)


def proc_lines(path: str) -> Iterator[bytes]:
    """The lines of a /proc file, read no further than they are asked for."""
    rest = b""
    fd = os.open(path, os.O_RDONLY)
    try:
        while chunk := os.read(fd, 1 << 16):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from lines
    finally:
        os.close(fd)


def temporary_file() -> int:
    """A file without a name; not on an overlay, which swaps vm_file behind mmap()'s back."""
    with open("/proc/self/mountinfo") as file:
        kinds = {line.split()[2]: line.split(" - ")[1].split()[0] for line in file}
    places = [os.environ.get("TMPDIR", "/tmp"), "/tmp", "/var/tmp", "/dev/shm"]

    def kind(place: str) -> str | None:
        try:
            device = os.stat(place).st_dev
        except OSError:
            return None
        return kinds.get(f"{os.major(device)}:{os.minor(device)}")

    plain = [place for place in places if kind(place) in ("ext4", "xfs", "tmpfs", "f2fs", "btrfs")]
    for place in plain + places:
        try:
            return os.open(place, os.O_RDWR | os.O_TMPFILE | os.O_EXCL, 0o600)
        except OSError:
            continue
    raise Unsupported("no directory takes a temporary file (O_TMPFILE)")


def run_scenario(request: dict[str, Any], arena: Arena, results: IO[str], acks: int) -> None:
    """Make every call and report each; `rmid` is answered by the keeper's process."""
    arena.limit_memory()
    parent = select.poll()
    parent.register(0, 0)  # standard input hangs up when whoever asks is gone
    for op in request["ops"]:
        if parent.poll(0):
            os._exit(1)
        step: dict[str, Any] = {"op": op, "errno": ""}
        try:
            if op.startswith("rmid "):
                libc.shmctl(arena.segments[op.split()[1]].id, IPC_RMID, None)
                print(op, file=results, flush=True)
                os.read(acks, 1)
                arena.segments[op.split()[1]].keeper = None
                outcome = {}
            else:
                outcome = arena.do(op)
        except OSError as error:
            if error.errno == errno.EPERM and "uffd" not in op:
                raise Unsupported(
                    f"{op!r} is refused: by seccomp, or for lack of a right"
                ) from None
            outcome = {"errno": error_name(error)}
        step["errno"] = outcome.pop("errno", "")
        lines = arena.layout(request["vm_flags"])
        step["layout"] = [str(line) for line in lines]
        if "ret" in outcome:
            step["ret"] = outcome["ret"]
        if arena.segments:
            step["nattch"] = {name: s.nattch() for name, s in arena.segments.items()}
        if "note" in outcome:
            step["note"] = outcome["note"]
        if request["vm_flags"]:
            step["vm_flags"] = [line.flags for line in lines]
        print(json.dumps(step), file=results, flush=True)
    arena.kill_forked()


# -- the process that serves requests --------------------------------------------------------------

fuse: Fuse | Unsupported | None = None  # mounted at first need; a refusal stays one


def mounted_fuse() -> str:
    """The path of the FUSE file."""
    global fuse
    if fuse is None:
        try:
            fuse = Fuse()
        except Unsupported as why:
            fuse = why
    if isinstance(fuse, Unsupported):
        raise fuse
    return fuse.path


def record(request: dict[str, Any]) -> str:
    """Run one scenario in a child; the recording, or why there is none, as JSON."""
    segments: dict[str, Segment] = {}
    try:
        if request["segments"]:
            need_shm()
        for name, pages in request["segments"].items():
            segments[name] = Segment(pages)
        path = mounted_fuse() if any(" fuse " in op for op in request["ops"]) else ""
        steps, failure = in_child(request, segments, path)
        if failure:
            return failure
        after = {name: segment.nattch() for name, segment in segments.items()}
        return (
            f'{{"scenario": {json.dumps(request["scenario"])}, '
            f'"segments": {json.dumps(request["segments"])}, '
            f'"steps": [{", ".join(steps)}], "nattch_after_exit": {json.dumps(after)}}}'
        )
    except Unsupported as why:
        return json.dumps({"unsupported": str(why)})
    except OSError as error:
        return json.dumps({"failed": f"no child could be started ({error_name(error)})"})
    finally:
        for segment in segments.values():
            segment.release()


def in_child(
    request: dict[str, Any], segments: dict[str, Segment], fuse_path: str
) -> tuple[list[str], str]:
    """The steps a forked child reports, and what went wrong if anything did, all as JSON."""
    results, results_in = os.pipe()
    acks, acks_in = os.pipe()
    server = os.getpid()
    pid = os.fork()
    if pid == 0:
        os.close(results)
        with os.fdopen(results_in, "w") as report:
            try:
                die_with_parent(server)
                arena = Arena(request["pages"], request["file_pages"], segments, fuse_path)
                run_scenario(request, arena, report, acks)
            except Unsupported as why:
                print(json.dumps({"unsupported": str(why)}), file=report, flush=True)
            except MemoryError:
                print(json.dumps({"failed": "it ran out of memory"}), file=report, flush=True)
            except Exception as error:  # whatever it is, it must not become a second server
                print(json.dumps({"failed": repr(error)}), file=report, flush=True)
            finally:
                os._exit(0)
    os.close(results_in)
    os.close(acks)
    steps: list[str] = []
    failure = ""
    with os.fdopen(results) as lines:
        for line in lines:
            if line.startswith("rmid "):
                segments[line.split()[1]].release()
                with contextlib.suppress(OSError):  # it was killed meanwhile
                    os.write(acks_in, b"k")
            elif line.startswith('{"op"'):
                steps.append(line.rstrip())
            else:
                failure = line.rstrip()
    os.close(acks_in)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        done = f"after {len(steps)} of {len(request['ops'])} calls"
        failure = json.dumps({"failed": f"the child was ended by {name} {done}"})
        if name == "SIGSYS":
            failure = json.dumps({"unsupported": f"a seccomp filter forbids a call of it, {done}"})
    return steps, failure


# -- the machine -----------------------------------------------------------------------------------


def machine() -> dict[str, Any]:
    """What `vmakernel.process.Machine` asks about, as this machine has it; None: not to be told."""
    with open("/proc/sys/vm/overcommit_memory") as file:
        strict = file.read().strip() == "2"
    with open("/proc/sys/vm/max_map_count") as file:
        map_count = int(file.read())
    flags = MAP_PRIVATE | MAP_ANONYMOUS
    page = libc.mmap(0, PAGE, PROT["x"], flags, -1, 0)
    key, shown = smaps_of(page)
    return {
        "pkeys": {(True, False): False, (False, True): True}.get((readable(page), key > 0)),
        "thp": allowed("madvise", page, PAGE, ADVICE["nohuge"]),
        "names": allowed("prctl", PR_SET_VMA, 0, page, PAGE, b"vmakernel"),
        "softdirty": "sd" in shown,
        "page": PAGE,
        "strict": strict,
        "memlock": memlock(),
        "map_count": map_count,
    }


def readable(page: int) -> bool:
    """Whether a page can be read."""
    out, into = os.pipe()
    try:
        libc.write(into, page, 1)
    except OSError:
        return False
    finally:
        os.close(out)
        os.close(into)
    return True


def allowed(name: str, *arguments: int | bytes) -> bool:
    """Whether a call of the C library succeeds."""
    try:
        getattr(libc, name)(*arguments)
    except OSError:
        return False
    return True


def smaps_of(page: int) -> tuple[int, list[str]]:
    """The protection key and the flags that smaps shows for the VMA of a page."""
    ours, key = False, 0
    for text in proc_lines("/proc/self/smaps"):
        words = text.split()
        if b"-" in words[0]:
            start, stop = (int(number, 16) for number in words[0].split(b"-"))
            ours = start <= page < stop
        elif ours and words[0] == b"ProtectionKey:":
            key = int(words[1])
        elif ours and words[0] == b"VmFlags:":
            return key, [word.decode() for word in words[1:]]
    return key, []


def memlock() -> int | None:
    """How many pages may be locked; None where root's right to lock any number is there."""
    with open("/proc/self/status") as file:
        effective = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:"))
    with open("/proc/self/uid_map") as file:
        first = file.read().split() == [
            "0",
            "0",
            "4294967295",
        ]  # the right is the first user namespace's
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    if (first and effective >> 14 & 1) or limit == resource.RLIM_INFINITY:
        return None
    return limit // PAGE


def told_machine() -> str:
    """The machine as JSON; asked in a child, whose mappings and keys go with it."""
    told, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            text = json.dumps(machine())
        except Exception as error:  # whatever it is, it must not become a second server
            text = json.dumps({"unsupported": f"the machine cannot be looked at ({error!r})"})
        os.write(into, text.encode())
        os._exit(0)
    os.close(into)
    with os.fdopen(told) as file:
        text = file.read()
    os.waitpid(pid, 0)
    return text or json.dumps({"failed": "it ended while it looked at the machine"})


def need(call: str, probe: Callable[[], object]) -> None:
    """Raise Unsupported if a call is refused whatever it is asked."""
    try:
        probe()
    except Unsupported:
        raise Unsupported(f"{call}() is not there: a seccomp filter, or no SysV IPC") from None
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES, errno.ENOSYS):
            raise Unsupported(f"{call}() is refused: a seccomp filter?") from None
    except ValueError:  # so Python says that a limit may not be set
        raise Unsupported(f"{call}() is refused: a seccomp filter?") from None


def need_nothing_forced() -> None:
    """Raise Unsupported where this process was told to treat all of its memory in another way."""
    for option, what in (
        (PR_GET_MDWE, "writable memory never becomes executable"),
        (
            PR_GET_MEMORY_MERGE,
            "all memory is offered to KSM",
        ),
    ):
        try:
            forced = libc.prctl(option, 0, 0, 0, 0)
        except (OSError, Unsupported):  # this kernel has no such option
            continue
        if forced:
            raise Unsupported(f"in this process {what}, by a prctl() of one that started it")


def need_shm() -> None:
    """Raise Unsupported unless a segment, once made, can be detached and removed again."""
    need("shmctl", lambda: libc.shmctl(-1, IPC_STAT, ctypes.create_string_buffer(256)))
    need("shmdt", lambda: libc.shmdt(PAGE))


def main() -> None:
    """Answer requests until there are no more."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # to ignore it is inherited, and children vanish
    for line in sys.stdin:
        request = json.loads(line)
        try:
            need("kill", lambda: os.kill(os.getpid(), 0))
            need("wait4", lambda: os.waitpid(os.getpid(), os.WNOHANG))
            need("prctl", lambda: libc.prctl(PR_GET_NAME, ctypes.create_string_buffer(16)))
            need("prlimit", lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)))
            need_nothing_forced()
            signal.alarm(request["limit"])  # should the parent be gone, nothing lives on for ever
            answer = told_machine() if "machine" in request else record(request)
        except Unsupported as why:
            answer = json.dumps({"unsupported": str(why)})
        print(answer, flush=True)
        signal.alarm(0)


if __name__ == "__main__":
    main()
