"""JupyterHub for one class on one server: system accounts, limits, idle servers ended.

Three things can be set from outside: HUB_URL, where it listens (http://127.0.0.1:8000); HUB_STATE,
where it keeps its memory (/var/lib/vmakernel-hub); HUB_IDLE, after how many seconds an idle server
is ended (3600).
"""

import grp
import os
import resource
import sys
from pathlib import Path

from jupyterhub.spawner import LocalProcessSpawner

c = get_config()  # noqa: F821

ROOT = Path(__file__).resolve().parent.parent
STATE = Path(os.environ.get("HUB_STATE", "/var/lib/vmakernel-hub"))
STATE.mkdir(mode=0o700, parents=True, exist_ok=True)


class ClassSpawner(LocalProcessSpawner):
    """A process under the learner's own account, with limits that it cannot raise.

    mem_limit holds for each process of a learner's, the server and every kernel: who asks for more
    gets a MemoryError. (RLIMIT_DATA: private, writable memory.)
    """

    def make_preexec_fn(self, name):
        """Set the limits while still root, then become the learner."""
        become = super().make_preexec_fn(name)
        limit = self.mem_limit

        def preexec():
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
            resource.setrlimit(resource.RLIMIT_NPROC, (400, 400))  # threads count
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.nice(5)  # the hub and its proxy go first
            os.umask(0o077)
            become()

        return preexec


# --- who may come in: the accounts that deploy/accounts.py makes ------------------------------
c.JupyterHub.authenticator_class = "pam"
c.PAMAuthenticator.allowed_groups = {"vmakernel"}
# Nobody is an administrator, who could enter every server: teachers have a role (below).
c.Authenticator.manage_groups = True


def groups(authenticator, handler, authentication):
    """Tell the hub whether who logs in is a teacher."""
    member = authentication["name"] in grp.getgrnam("vmakernel-teachers").gr_mem
    return authentication | {"groups": ["vmakernel-teachers"] if member else []}


c.Authenticator.post_auth_hook = groups
c.PAMAuthenticator.open_sessions = False

# --- what they get --------------------------------------------------------------------------------
c.JupyterHub.spawner_class = ClassSpawner
c.Spawner.cmd = [sys.executable, str(ROOT / "deploy/learner.py")]
c.Spawner.default_url = "/lab/tree/notebooks/00-start-here.ipynb"
c.Spawner.mem_limit = "768M"
c.Spawner.disable_user_config = True
# One thread each: thirty learners share the cores.
c.Spawner.environment = {"OPENBLAS_NUM_THREADS": "1"}
# A whole class arrives in the same minute, on few cores: wait rather than give up.
c.Spawner.start_timeout = 180
c.Spawner.http_timeout = 180

# --- the hub itself -----------------------------------------------------------------------------
c.JupyterHub.bind_url = os.environ.get("HUB_URL", "http://127.0.0.1:8000")
c.JupyterHub.db_url = f"sqlite:///{STATE}/hub.sqlite"
c.JupyterHub.cookie_secret_file = f"{STATE}/cookie_secret"
c.ConfigurableHTTPProxy.pid_file = f"{STATE}/proxy.pid"
c.ConfigurableHTTPProxy.command = [
    "node",
    str(ROOT / "deploy/node_modules/configurable-http-proxy/bin/configurable-http-proxy"),
]
# A hub that is stopped or killed leaves the learners' servers running, and finds them again.
c.JupyterHub.cleanup_servers = False

# --- idle servers are ended; what is saved stays --------------------------------------------------
c.JupyterHub.services = [
    {
        "name": "idle",
        "command": [
            sys.executable,
            "-m",
            "jupyterhub_idle_culler",
            f"--timeout={os.environ.get('HUB_IDLE', '3600')}",
        ],
    }
]
c.JupyterHub.load_roles = [
    {
        "name": "idle",
        "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
        "services": ["idle"],
    },
    {
        "name": "teacher",  # sees and stops servers, and enters none (that is access:servers)
        "scopes": ["admin-ui", "list:users", "read:servers", "delete:servers"],
        "groups": ["vmakernel-teachers"],
    },
]
