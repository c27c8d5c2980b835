"""How long a process takes to its first answer, and what it needs for it.

    python3 benches/first_answer.py PROGRAM INDEX [INDEX ...]

Each index is asked by fresh processes in turn, five times: a question of words that is nowhere but in the
made-up pages of benches/many_rows.rs, by all channels and by words alone; medians, and the peak of memory.
The files are in the page cache. A JSON line an index.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time

QUESTION = "wb wc wbz"
WAYS = {"both": [], "words": ["--channel", "text"], "status": None}


def run(command):
    """Milliseconds and megabytes of a process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    took = (time.perf_counter() - start) * 1000
    if status != 0:
        sys.exit(f"{command}: {out.decode()}")
    return took, usage.ru_maxrss / 1024


def main():
    program, indexes = sys.argv[1], sys.argv[2:]
    commands = {}
    for index in indexes:
        for name, more in WAYS.items():
            verb = ["status"] if more is None else ["query", *more, QUESTION]
            commands[index, name] = [program, "--index", index, *verb]
    took = {key: [] for key in commands}
    for round_ in range(6):
        for key, command in commands.items():
            result = run(command)
            if round_:
                took[key].append(result)
    for index in indexes:
        status = json.loads(subprocess.check_output([program, "--index", index, "status", "--json"]).splitlines()[-1])
        line = {"pages": status["pages"], "documents": sum(status["documents"].values())}
        for name in WAYS:
            line[name] = {
                "ms": round(statistics.median(t for t, _ in took[index, name])),
                "mb": round(max(m for _, m in took[index, name])),
            }
        print(json.dumps(line))


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
