"""Make an account for each learner of a class, and print a sheet of passwords to hand out.

    sudo python3 deploy/accounts.py names.txt > passwords.txt

One account name a line; a line that ends in * is a teacher, who may see and stop every server. An
account that is there already is left as it is. Homes are closed to others. For Linux.
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

LEARNERS, TEACHERS = "vmakernel", "vmakernel-teachers"
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
        pass
    else:
        if name not in grp.getgrnam(LEARNERS).gr_mem:
            raise Trouble(f"{name} is an account of something else here: choose another name.")
        return None
    groups = f"{LEARNERS},{TEACHERS}" if teacher else LEARNERS
    # No shell: the password is for the hub alone.
    home = ["--create-home", "--user-group", "--shell", "/usr/sbin/nologin"]
    subprocess.run(["useradd", *home, "--groups", groups, name], check=True)
    os.chmod(pwd.getpwnam(name).pw_dir, 0o700)
    word = password()
    subprocess.run(["chpasswd"], input=f"{name}:{word}\n", text=True, check=True)
    return word


def main(arguments: list[str]) -> int:
    """Make what is asked for; 2 if there is something to put right first."""
    try:
        if len(arguments) != 1:
            raise Trouble("Say: sudo python3 deploy/accounts.py names.txt > passwords.txt")
        listed = names(Path(arguments[0]).read_text(encoding="utf-8"))
        if os.geteuid() != 0:
            raise Trouble("Only root can make accounts: put sudo before the command.")
        for group in (LEARNERS, TEACHERS):
            subprocess.run(["groupadd", "--force", group], check=True)
        for name, teacher in listed.items():
            word = make(name, teacher)
            print(f"{name:32}{word or '(kept as it was)'}", flush=True)
    except (Trouble, OSError) as trouble:
        print(trouble, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
