"""The demonstration's second client, a process of its own: reads everything back and compares it with the files.

It takes from the first client only what a stranger would be told: a server, the topic, the files' names.
"""

from __future__ import annotations

import json
import sys
import time

from quorumlog.client import Reader
from quorumlog.cluster.asynchronous import run
from quorumlog.cluster.demo import text
from quorumlog.cluster.demo.comparison import Comparison
from quorumlog.cluster.failures import explain


async def read_and_compare(servers: str, topic: str, comparison: Comparison) -> float:
    """Seconds the reading took. Raises VerificationFailed, or the client's error."""
    take = comparison.take
    begin = time.perf_counter()
    async with Reader(servers, topic, start="earliest", stop_at_end=True) as reader:
        async for batch in reader.batches():
            for record in batch:
                take(record.partition, record.key, record.value)
    seconds = time.perf_counter() - begin
    comparison.finish()
    return seconds


def main() -> int:
    """Arguments: SERVERS TOPIC [FILE…]. Writes one JSON object to stdout when all is well."""
    servers, topic, *names = sys.argv[1:]
    comparison = Comparison(text.load(names).lines_by_key)
    try:
        seconds = run(read_and_compare(servers, topic, comparison))
    except Exception as error:
        explained = explain(error)
        if explained is None:
            raise
        print(explained.message, file=sys.stderr)
        return explained.exit_code
    print(json.dumps({"records": comparison.records, "seconds": seconds}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
