#!/bin/sh
# Indexes folders into a bucket on a Slurm cluster: an array with a task a shard, then a commit.
#
#     INDEX=s3://archive/index launch/slurm.sh /shared/reports
#
# The cluster sees the folders, and its jobs have the credentials of the bucket in their environment.
# A shared folder can stand in for a bucket: INDEX=file:///shared/index. A task that is killed is put
# back into the queue and goes on after the last part of its shard. Not run here: there is no Slurm on
# the machine that this was written on; the three commands that it starts are tested.
set -eu

INDEX=${INDEX:?the address of the index, e.g. s3://archive/index}
PAGESIGHT=${PAGESIGHT:-pagesight}
SHARDS=${SHARDS:-}      # one for each 256 MB
AT_ONCE=${AT_ONCE:-64}  # tasks at a time
SBATCH=${SBATCH:-}      # more for sbatch, e.g. "--partition=gpu --gres=gpu:1"

planned=$("$PAGESIGHT" --index "$INDEX" plan --json ${SHARDS:+--shards "$SHARDS"} "$@")
plan=$(printf '%s' "$planned" | sed -n 's/.*"plan":"\([0-9a-f]*\)".*/\1/p')
count=$(printf '%s' "$planned" | sed -n 's/.*"shards":\([0-9]*\).*/\1/p')
if [ -z "$plan" ]; then
    echo "nothing to do"
    exit 0
fi

# Exit code 3 says that some documents failed, which are named in the index.
# shellcheck disable=SC2086 # SBATCH holds several words
array=$(sbatch --parsable --requeue --array="0-$((count - 1))%$AT_ONCE" $SBATCH --wrap "
    '$PAGESIGHT' --index '$INDEX' index --plan $plan --shard \$SLURM_ARRAY_TASK_ID/$count --quiet
    code=\$?; [ \$code -eq 3 ] && code=0; exit \$code")
commit=$(sbatch --parsable --requeue --dependency="afterok:$array" --wrap "
    '$PAGESIGHT' --index '$INDEX' commit --plan $plan
    code=\$?; [ \$code -eq 3 ] && code=0; exit \$code")
echo "plan $plan, $count shards: job $array, then commit $commit"
