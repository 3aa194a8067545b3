"""Ray Data on a cluster of two nodes, one of whose workers is killed; and a vocabulary over actors."""

import os
import pathlib
import runpy

import numpy as np
import pytest

import wgpu_activations as wa

pytest.importorskip("ray")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

ROWS, WIDTH = 400, 64
X = np.random.default_rng(1).normal(size=(ROWS, WIDTH)).astype(np.float32) * 3


@pytest.fixture(scope="module")
def ray(tmp_path_factory):
    """Two nodes, each a process tree of its own."""
    import ray
    from ray.cluster_utils import Cluster

    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "object_store_memory": 200 << 20})
    cluster.add_node(num_cpus=2, object_store_memory=200 << 20)
    ray.init(address=cluster.address, logging_level="warning", log_to_driver=False)
    yield ray
    ray.shutdown()
    cluster.shutdown()


def sorted_rows(ds):
    rows = ds.take_all()
    assert len(rows) == ROWS
    rows.sort(key=lambda row: row["row"])
    assert [row["row"] for row in rows] == list(range(ROWS))
    return np.stack([np.asarray(row["x"]) for row in rows])


def parquet(folder, files=8):
    import pyarrow as pa
    import pyarrow.parquet as pq

    for i, rows in enumerate(np.array_split(np.arange(ROWS), files)):
        x = pa.FixedSizeListArray.from_arrays(pa.array(X[rows].reshape(-1)), WIDTH)
        pq.write_table(pa.table({"row": rows, "x": x}), folder / f"{i}.parquet", row_group_size=17)


def test_a_column(ray, tmp_path):
    """From Parquet, whatever the batches are: bit for bit what one process makes."""
    source, sink = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    parquet(source)
    want = wa.gelu(X)
    ds = ray.data.read_parquet(str(source)).map_batches(wa.ray.Apply("gelu", column="x"), batch_size=7)
    ds.write_parquet(str(sink))
    np.testing.assert_array_equal(sorted_rows(ray.data.read_parquet(str(sink))), want)


def test_a_worker_is_killed(ray, tmp_path):
    """Ray starts another one, and no row is lost, twice there or another one."""

    class DiesOnce:
        def __init__(self, mark):
            self.apply, self.mark = wa.ray.Apply("softmax", column="x", axis=-1), pathlib.Path(mark)

        def __call__(self, batch):
            if 200 in batch["row"] and not self.mark.exists():
                self.mark.write_text(str(os.getpid()))
                os.kill(os.getpid(), 9)
            return self.apply(batch)

    source = tmp_path / "in"
    source.mkdir()
    parquet(source)
    ds = ray.data.read_parquet(str(source)).map_batches(
        DiesOnce, fn_constructor_args=[str(tmp_path / "mark")], concurrency=2, num_cpus=0.5, batch_size=20
    )
    got = sorted_rows(ds)
    assert (tmp_path / "mark").exists()
    np.testing.assert_array_equal(got, wa.softmax(X, axis=-1))


def test_seeds_are_of_the_rows_numbers(ray, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    parquet(source)
    want = wa.gumbel_softmax(X, seed=7, axis=-1)
    f = wa.ray.Apply("gumbel_softmax", column="x", seed=7, index="row")
    ds = ray.data.read_parquet(str(source)).random_shuffle(seed=1).map_batches(f, batch_size=13)
    np.testing.assert_array_equal(sorted_rows(ds), want)


def test_a_vocabulary_over_actors(ray, capsys):
    example = pathlib.Path(__file__).parents[1] / "examples/vocabulary_split.py"
    runpy.run_path(str(example))["main"]()
    assert "cross entropy over 4 workers" in capsys.readouterr().out


def test_batches_without_ray():
    f = wa.ray.Apply("prelu", column=["x", "slope"], output="y", axis=1)
    batch = {"x": X, "slope": np.float32([0.1] * WIDTH)}
    np.testing.assert_array_equal(f(batch)["y"], wa.prelu(X, batch["slope"], axis=1))
    with pytest.raises(ValueError, match="name the column"):
        wa.ray.Apply("rrelu", column="x", seed=1)
    with pytest.raises(TypeError, match="several shapes"):
        wa.ray.Apply("gelu", column="x")({"x": np.array([X[0], X[0][:3]], object)})
    f = wa.ray.Apply("rrelu", column="x", seed=1, index="row")
    rows = np.array([5, 6, 2, 3, 9])
    np.testing.assert_array_equal(f({"x": X[rows], "row": rows})["x"], wa.rrelu(X, seed=1)[rows])
    empty = f({"x": X[:0], "row": rows[:0]})
    assert empty["x"].shape == (0, WIDTH)
