"""A Parquet data set through Ray Data on two workers: softmax of a column of rows of 1,024.

`python bench/ray_parquet.py FOLDER [--gigabytes 4] [--blocks 8 64 512]` makes the data set in FOLDER where it is not there,
computes it in one process, then by Ray with each number of blocks; once more with one worker killed, and with a function
that does nothing, whose time is Ray's own. Rows are compared by a checksum of their bits.
"""

import argparse
import os
import pathlib
import time
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import wgpu_activations as wa

WIDTH, FILE_ROWS = 1024, 16_384


def made(folder, gigabytes):
    """Files of 64 MB."""
    files = max(1, round(gigabytes * 1e9 / (FILE_ROWS * WIDTH * 4)))
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(files):
        path = folder / f"{i:05}.parquet"
        if not path.exists():
            x = np.random.default_rng(i).standard_normal(FILE_ROWS * WIDTH, np.float32) * 3
            rows = np.arange(i * FILE_ROWS, (i + 1) * FILE_ROWS)
            table = pa.table({"row": rows, "x": pa.FixedSizeListArray.from_arrays(pa.array(x), WIDTH)})
            pq.write_table(table, path.with_suffix(".part"), compression="none", use_dictionary=False, row_group_size=1024)
            path.with_suffix(".part").rename(path)
    return [folder / f"{i:05}.parquet" for i in range(files)]


def sums(x):
    return np.array([zlib.crc32(row) for row in np.ascontiguousarray(x)], np.int64)


def alone(files):
    """One process, file by file."""
    found = []
    for path in files:
        x = pq.read_table(path)["x"].combine_chunks().flatten().to_numpy().reshape(-1, WIDTH)
        found.append(sums(wa.softmax(x, axis=-1)))
    return np.concatenate(found)


class Work:
    """What a worker does with a batch: the function, then a checksum of each row."""

    def __init__(self, nothing=False, mark=None):
        self.apply = None if nothing else wa.ray.Apply("softmax", column="x", axis=-1, backend="cpu")
        self.mark = mark and pathlib.Path(mark)

    def __call__(self, batch):
        if self.mark and not self.mark.exists():
            self.mark.write_text(str(os.getpid()))
            os.kill(os.getpid(), 9)
        if self.apply is None:
            return {"row": batch["row"], "sum": np.zeros(len(batch["row"]), np.int64)}
        return {"row": batch["row"], "sum": sums(self.apply(batch)["x"])}


def by_ray(files, blocks, **options):
    import ray

    ds = ray.data.read_parquet(str(files[0].parent), override_num_blocks=blocks)
    begin = time.perf_counter()
    ds = ds.map_batches(Work, fn_constructor_kwargs=options, concurrency=2, num_cpus=0.5, batch_size=1024)
    rows, found = [], []
    for batch in ds.iter_batches(batch_size=65_536):
        rows.append(batch["row"])
        found.append(batch["sum"])
    took = time.perf_counter() - begin
    order = np.argsort(np.concatenate(rows), kind="stable")
    assert (np.concatenate(rows)[order] == np.arange(len(order))).all(), "a row is missing, or twice there"
    return took, np.concatenate(found)[order]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--gigabytes", type=float, default=4)
    parser.add_argument("--blocks", type=int, nargs="+", default=[8, 64, 512])
    arguments = parser.parse_args()
    import ray

    wa.set_backend("cpu")
    files = made(arguments.folder, arguments.gigabytes)
    size = len(files) * FILE_ROWS * WIDTH * 4 / 1e9
    begin = time.perf_counter()
    want = alone(files)
    took = time.perf_counter() - begin
    print(f"{size:.2f} GB, {len(want)} rows; one process: {took:.1f} s, {size / took:.2f} GB/s", flush=True)
    ray.init(num_cpus=4, logging_level="warning", log_to_driver=False, object_store_memory=1 << 30)
    for blocks in arguments.blocks:
        took, found = by_ray(files, blocks)
        empty, _ = by_ray(files, blocks, nothing=True)
        same = len(found) == len(want) and (found == want).all()
        print(
            f"{blocks} blocks: {took:.1f} s, {size / took:.2f} GB/s, of which Ray's {empty:.1f} s; "
            f"{'bit for bit the same' if same else 'NOT THE SAME'}",
            flush=True,
        )
    mark = arguments.folder.with_suffix(".killed")
    mark.unlink(missing_ok=True)
    took, found = by_ray(files, arguments.blocks[-1], mark=str(mark))
    print(f"with a worker killed: {took:.1f} s; {'bit for bit the same' if (found == want).all() else 'NOT THE SAME'}")


if __name__ == "__main__":
    main()
