"""Indexes folders into a bucket on a Ray cluster: one task a shard, then one commit.

    python ray_index.py s3://archive/index /mnt/reports --shards 40

Every machine of the cluster needs the program, the folder, and the credentials of the bucket in its
environment. A task that dies with its machine is started again elsewhere and goes on after the last part
of its shard. Flags that this does not know are those of `pagesight index`, e.g. --local /scratch.
"""

import argparse
import json
import shlex
import subprocess
import sys

import ray


def pagesight(*arguments):
    """Runs the program; its last line of JSON. Exit code 3 says that some documents failed."""
    done = subprocess.run([options.program, "--index", options.index, *arguments, "--json"],
                          stdout=subprocess.PIPE, text=True)
    if done.returncode not in (0, 3):
        raise RuntimeError(f"pagesight {arguments[0]} ended with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


@ray.remote(max_retries=-1, retry_exceptions=False)
def shard(program, index, plan, number, count, more):
    """Reads one shard; says how many parts it laid down."""
    for _ in range(4):
        done = subprocess.run([program, "--index", index, "index", "--plan", plan, "--shard",
                               f"{number}/{count}", "--json", *more], stdout=subprocess.PIPE, text=True)
        if done.returncode >= 0:  # else a signal ended it, e.g. for want of memory: it goes on
            break
    if done.returncode not in (0, 3):
        raise RuntimeError(f"shard {number}/{count} ended with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1]).get("parts", 0)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
parser.add_argument("index", help="s3://BUCKET/PREFIX")
parser.add_argument("folder", nargs="+")
parser.add_argument("--shards", type=int, default=0, help="default: one for each 256 MB")
parser.add_argument("--plan", default="", help='flags of `pagesight plan`, e.g. "--no-ocr"')
parser.add_argument("--program", default="pagesight")
parser.add_argument("--gpus", type=float, default=0, help="of each task")
parser.add_argument("--cpus", type=float, default=1, help="of each task")
options, more = parser.parse_known_args()

ray.init()
wanted = ["--shards", str(options.shards)] if options.shards else []
plan = pagesight("plan", *wanted, *shlex.split(options.plan), *options.folder)
if plan["plan"] is None:
    sys.exit("nothing to do")
count, task = plan["shards"], shard.options(num_cpus=options.cpus, num_gpus=options.gpus)
parts = ray.get([task.remote(options.program, options.index, plan["plan"], number, count, more)
                 for number in range(count)])
print(json.dumps({**pagesight("commit", "--plan", plan["plan"]), "parts_laid_down": sum(parts)}))
