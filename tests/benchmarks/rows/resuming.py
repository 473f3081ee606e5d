"""Two gibibytes: what BlobService's part of moving them costs, and what a kill sends again."""

from __future__ import annotations

import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from gimle.asgard.client.blobs import Blobs

from tests.benchmarks import moving
from tests.benchmarks.clusters import blob_cluster, cpu_seconds
from tests.benchmarks.figures import Bench, Figure
from tests.cluster.blob_processes import BlobCluster
from tests.engines import minio
from tests.engines.s3_store import ROOT
from tests.sdk.puts import Puts
from tests.sdk.relay import Relay, a_relay

MOST_CPU = 0.01

UPLOAD = """
import sys
from gimle.asgard.client.blobs import Blobs
done = Blobs(sys.argv[1]).upload(sys.argv[2], sys.argv[3])
print(done.bytes_moved)
"""


def measure(bench: Bench) -> list[Figure]:
    """One upload and one download measured; then one file and a tree, killed and gone on with."""
    # A file up to 1 GiB that is alone has two parts under way.
    size = max(moving.tree_mib(bench), 1_025) * moving.MIB
    files = moving.Files(f"{size // moving.MIB:,} MiB in one file", {"one": size})
    folder = bench.folder / "resuming"
    files.write(folder / "in")
    try:
        with blob_cluster(folder / "cluster") as cluster:
            figures = [_cpu(bench, files, folder, cluster)]
        # Counted on the way: the URLs of this service lead through a relay.
        with a_relay(minio.server().port) as relay:
            public = f"http://127.0.0.1:{relay.port}"
            with blob_cluster(folder / "cluster", s3_public_endpoint=public) as cluster:
                figures.append(_again(bench, files, folder / "in", cluster, relay))
                shutil.rmtree(folder / "in")
                a_tree = moving.a_tree(moving.tree_mib(bench))
                a_tree.write(folder / "tree")
                return [*figures, _again(bench, a_tree, folder / "tree", cluster, relay)]
    finally:
        shutil.rmtree(folder)


def _cpu(bench: Bench, files: moving.Files, folder: Path, cluster: BlobCluster) -> Figure:
    service, store = cluster.replicas[0].pid, cluster.store.pid
    with Blobs(cluster.replicas[0].where) as blobs:
        list(blobs.list())
        before = cpu_seconds(service), cpu_seconds(store), _own_cpu()
        blobs.upload(folder / "in", "cpu")
        blobs.download("cpu", folder / "out")
        after = cpu_seconds(service), cpu_seconds(store), _own_cpu()
        blobs.delete_all("cpu/")
    shutil.rmtree(folder / "out")
    ours, store_s, client_s = (now - then for now, then in zip(after, before, strict=True))
    whole = ours + store_s + client_s
    bench.say(
        f"  seconds of CPU: BlobService {ours:.2f}, store {store_s:.2f}, client {client_s:.2f}"
    )
    return Figure(
        f"BlobService's CPU while {files.what} go up and down",
        f"{ours * 1e3:,.0f} ms = {ours / whole:.2%}",
        f"{whole:,.1f} s of store, client and service",
        f"below {MOST_CPU:.0%} of it",
        ours / whole < MOST_CPU,
    )


def _own_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _again(
    bench: Bench, files: moving.Files, folder: Path, cluster: BlobCluster, relay: Relay
) -> Figure:
    """Kill an upload and begin it again, and count what came twice, by parts and by bytes."""
    size = sum(files.sizes.values())
    began = relay.up
    puts = Puts(relay, size * 7 // 10)
    with _uploading(cluster, folder) as first:
        if not relay.reached.wait(600):
            raise RuntimeError("the upload does not come to 70 %")
        first.send_signal(signal.SIGKILL)
    relay.released.set()
    killed = relay.up - began
    with _uploading(cluster, folder) as second:
        moved = int(second.communicate()[0])
    # What went over the wire in both, but for the heads of requests.
    again = relay.up - began - size
    twice = puts.twice().values()
    in_parts = [len(parts) for parts in twice if parts != [0]]
    bench.say(f"  {killed:,} bytes before the kill, {moved:,} after it; parts that came twice:")
    bench.say(f"  {sorted(twice)} (0 is a file that goes in one request)")
    return Figure(
        f"sent again after kill -9 at 70 % of {files.what}",
        f"{sum(in_parts)} parts of {len(in_parts)} files, and {len(twice) - len(in_parts)} whole",
        f"{again / moving.MIB:,.1f} MiB",
        "at most one part of a file",
        max(map(len, twice), default=0) <= 1,
    )


def _uploading(cluster: BlobCluster, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", UPLOAD, cluster.replicas[0].where, str(folder), folder.name]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
