"""Every connection is an open file."""

import subprocess
import sys


def test_a_router_may_open_as_many_files_as_the_system_lets_it():
    code = (
        "import resource;"
        "_, hard = resource.getrlimit(resource.RLIMIT_NOFILE);"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (min(64, hard), hard));"
        "from fairlead_router.process import allow_open_files;"
        "print(allow_open_files() == hard == resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert ran.stdout == "True\n"
