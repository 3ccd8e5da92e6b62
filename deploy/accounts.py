"""Make an account for each learner of a class, and passwords.txt, a sheet to hand out.

    sudo python3 deploy/accounts.py names.txt

One account name a line; a line that ends in * is a teacher, who may see and stop every server. An
account that is there already is left as it is, unless it has no password yet.
Homes are closed to others. For Linux.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import secrets
import subprocess
import sys
from pathlib import Path
from typing import TextIO

LEARNERS, TEACHERS = "vmakernel", "vmakernel-teachers"
SHEET, SHADOW = Path("passwords.txt"), Path("/etc/shadow")
# No letters or digits that look alike on paper.
ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"


class Trouble(Exception):
    """Something the teacher can put right; the message says how."""


def names(text: str) -> dict[str, bool]:
    """Read account names, each with whether it is a teacher's; Trouble for one that cannot be."""
    listed: dict[str, bool] = {}
    for number, line in enumerate(text.splitlines(), 1):
        name = line.strip()
        if not name:
            continue
        teacher, name = name.endswith("*"), name.removesuffix("*").strip()
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", name):
            raise Trouble(
                f"Line {number}: {name!r} cannot be an account: "
                "use small letters, digits and -, beginning with a letter."
            )
        if name in listed:
            raise Trouble(f"Line {number}: {name} is listed twice.")
        listed[name] = teacher
    return listed


def password() -> str:
    """Twelve characters in three groups: 59 bits."""
    return "-".join("".join(secrets.choice(ALPHABET) for _ in range(4)) for _ in range(3))


def make(name: str, teacher: bool) -> str | None:
    """Make one account and give its password; None if it is there and a learner already."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        if any(one.gr_name == name for one in grp.getgrall()):
            raise Trouble(f"{name} is a group here: choose another name.") from None
    else:
        if name not in grp.getgrnam(LEARNERS).gr_mem:
            raise Trouble(f"{name} is an account of something else here: choose another name.")
        if teacher != (name in grp.getgrnam(TEACHERS).gr_mem):
            print(changed(name, teacher))
        return give(name) if unset(name) else None
    groups = f"{LEARNERS},{TEACHERS}" if teacher else LEARNERS
    # No shell: the password is for the hub alone.
    home = ["--create-home", "--user-group", "--shell", "/usr/sbin/nologin"]
    subprocess.run(["useradd", *home, "--groups", groups, name], check=True)
    os.chmod(pwd.getpwnam(name).pw_dir, 0o700)
    return give(name)


def give(name: str) -> str:
    """Set a new password and return it."""
    word = password()
    subprocess.run(["chpasswd"], input=f"{name}:{word}\n", text=True, check=True)
    return word


def unset(name: str) -> bool:
    """Tell whether an account never got a password: an earlier run ended before it."""
    lines = SHADOW.read_text(encoding="utf-8").splitlines()
    return any(line.split(":")[:2] in ([name, "!"], [name, "!!"]) for line in lines)


def changed(name: str, teacher: bool) -> str:
    """Say how an account becomes what the list says it is."""
    if teacher:
        return f"{name} was a learner; `sudo gpasswd --add {name} {TEACHERS}` makes a teacher."
    return f"{name} was a teacher; `sudo gpasswd --delete {name} {TEACHERS}` makes a learner."


def sheet(path: Path) -> TextIO:
    """Open a new file that nobody else can read, from its first moment."""
    try:
        new = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise Trouble(f"There is a {path} from before: hand it out and delete it.") from None
    return os.fdopen(new, "w", encoding="utf-8")


def note(file: TextIO, name: str, word: str) -> None:
    """Write a password down; where that fails, unset it, so that the next run sets another."""
    try:
        file.write(f"{name:32}{word}\n")
        file.flush()
    except OSError:
        subprocess.run(["usermod", "--password", "!", name], check=True)
        raise


def main(arguments: list[str]) -> int:
    """Make what is asked for; 2 if there is something to put right first."""
    try:
        if len(arguments) != 1:
            raise Trouble("Say: sudo python3 deploy/accounts.py names.txt")
        listed = names(Path(arguments[0]).read_text(encoding="utf-8"))
        if os.geteuid() != 0:
            raise Trouble("Only root can make accounts: put sudo before the command.")
        for group in (LEARNERS, TEACHERS):
            subprocess.run(["groupadd", "--force", group], check=True)
        with sheet(SHEET) as file:
            try:
                for name, teacher in listed.items():
                    word = make(name, teacher)
                    if word:
                        note(file, name, word)
                    print(f"{name:32}{f'password in {SHEET}' if word else '(kept as it was)'}")
            finally:
                if not os.fstat(file.fileno()).st_size:
                    SHEET.unlink()
    except subprocess.CalledProcessError as failed:
        print(f"{failed.cmd[0]} failed, see above: then say the same again.", file=sys.stderr)
        return 2
    except (Trouble, OSError) as trouble:
        print(trouble, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
