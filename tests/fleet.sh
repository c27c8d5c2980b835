#!/bin/sh
# Starts moto as S3 on this machine and runs the command with it as the bucket of the tests. MOTO is
# the environment of Python that has it, and LOG takes what it was asked.
set -eu
port=${PORT:-8757}
moto=${MOTO:-$(dirname "$0")/../.tools/moto}/bin
"$moto/moto_server" -H 127.0.0.1 -p "$port" >"${LOG:-/dev/null}" 2>&1 &
server=$!
trap 'kill $server' EXIT
export AWS_ENDPOINT_URL="http://127.0.0.1:$port" AWS_REGION=us-east-1
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_EC2_METADATA_DISABLED=true
"$moto/python" - <<'PYTHON'
import os, time, urllib.request
# A busy machine takes its time to start it.
end = time.monotonic() + 120
while True:
    try:
        put = urllib.request.Request(os.environ["AWS_ENDPOINT_URL"] + "/pagesight", method="PUT")
        urllib.request.urlopen(put)
        break
    except OSError:
        if time.monotonic() > end:
            raise
        time.sleep(0.2)
PYTHON
export PAGESIGHT_TEST_BUCKET=s3://pagesight/tests
"$@"
