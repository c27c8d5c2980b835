"""Indexes folders into a bucket on a Ray cluster: one task a shard, then one commit.

    python ray_index.py s3://archive/index /mnt/reports --shards 40

Every machine of the cluster needs the program, the folder, and the credentials of the bucket in its
environment. A task that dies with its machine is started again elsewhere: it goes on after the last
part of its shard. All else that can go wrong is the program's own business. Not run here: Ray was not
at hand; the three commands that it starts are tested.
"""

import argparse
import json
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
    done = subprocess.run([program, "--index", index, "index", "--plan", plan, "--shard",
                           f"{number}/{count}", "--json", *more], stdout=subprocess.PIPE, text=True)
    if done.returncode not in (0, 3):
        raise RuntimeError(f"shard {number}/{count} ended with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1]).get("parts", 0)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
parser.add_argument("index", help="s3://BUCKET/PREFIX")
parser.add_argument("folder", nargs="+")
parser.add_argument("--shards", type=int, default=0, help="default: one for each 256 MB")
parser.add_argument("--program", default="pagesight")
parser.add_argument("--gpus", type=float, default=0, help="of each task")
parser.add_argument("--cpus", type=float, default=1, help="of each task")
options, more = parser.parse_known_args()

ray.init()
wanted = ["--shards", str(options.shards)] if options.shards else []
plan = pagesight("plan", *wanted, *options.folder)
if plan["plan"] is None:
    sys.exit("nothing to do")
count = plan["shards"]
task = shard.options(num_cpus=options.cpus, num_gpus=options.gpus)
parts = ray.get([task.remote(options.program, options.index, plan["plan"], number, count, more)
                 for number in range(count)])
print(json.dumps({**pagesight("commit", "--plan", plan["plan"]), "parts_laid_down": sum(parts)}))
