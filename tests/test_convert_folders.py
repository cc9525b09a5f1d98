"""Checkpoints that are folders: written by the libraries they come from, read back tensor for tensor."""

import json
import multiprocessing
import os
import pickle
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed._shard.sharded_tensor.metadata import TensorProperties as OlderProperties
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

from twinbench.convert import CheckpointError, load_backbone
from twinbench.convert.architectures.resnet import ResNet50
from twinbench.convert.reading.contents import Contents
from twinbench.convert.reading.reader import open_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")  # dcp.save of one process says so
INDEX = "model.safetensors.index.json"


def network() -> nn.Module:
    """Return a net with a weight, a bias, running statistics and a counter."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(5, 3))


def weights() -> dict[str, Tensor]:
    return dict(network().state_dict())


def fetched(contents: Contents, *path: str) -> dict[str, Tensor]:
    """Return every tensor of a node of what was opened."""
    return {name: stored.fetch() for name, stored in contents.tensors(contents.at(path)).items()}


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    """Say whether names, shapes, dtypes and values are equal."""
    assert sorted(found) == sorted(expected)
    return all(found[name].dtype == value.dtype and found[name].equal(value) for name, value in expected.items())


def write_shards(folder: Path, tensors: dict[str, Tensor], *, safe: bool = True) -> Path:
    """Write a state dict in two files as transformers names them; return the index."""
    names = sorted(tensors)
    stem, ending = ("model", ".safetensors") if safe else ("pytorch_model", ".bin")
    places: dict[str, str] = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"{stem}-0000{number}-of-00002{ending}"
        held = {name: tensors[name] for name in part}
        save_file(held, folder / file) if safe else torch.save(held, folder / file)
        places |= dict.fromkeys(part, file)
    index = folder / f"{stem}{ending}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return index


@pytest.mark.parametrize("safe", [True, False])
def test_shards_by_index_or_by_folder(tmp_path: Path, safe: bool) -> None:
    index = write_shards(tmp_path, weights(), safe=safe)
    for path in (tmp_path, index):
        contents = open_checkpoint(path)
        assert same(fetched(contents), weights())
        assert contents.container == ("safetensors-sharded" if safe else "torch-zip-sharded")
        assert contents.size == sum(path.stat().st_size for path in tmp_path.glob("*-of-*"))


def test_a_backbone_in_shards_is_the_one_in_a_single_file(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        tensors = {name: values + 1 for name, values in ResNet50(1 / 16).state_dict().items()}
    (tmp_path / "shards").mkdir()
    write_shards(tmp_path / "shards", tensors)
    torch.save(tensors, tmp_path / "whole.pth")
    assert load_backbone(tmp_path / "shards").sha256 == load_backbone(tmp_path / "whole.pth").sha256


@pytest.mark.parametrize("shard", ["1GB", "20KB"])
def test_a_folder_of_transformers(tmp_path: Path, shard: str) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=16
    )
    model = transformers.ViTModel(config)
    model.save_pretrained(tmp_path, max_shard_size=shard)
    transformers.ViTImageProcessor(image_mean=[0.1, 0.2, 0.3]).save_pretrained(tmp_path)
    contents = open_checkpoint(tmp_path)
    written: dict[str, Tensor] = {}  # under the names of the file, not those of this version's modules
    for file in tmp_path.glob("*.safetensors"):
        written |= load_file(file)
    assert len(written) == len(model.state_dict())
    assert same(fetched(contents), written)
    assert contents.hints["config"]["hidden_size"] == 16
    assert contents.hints["preprocessor"]["image_mean"] == [0.1, 0.2, 0.3]
    assert (tmp_path / INDEX).exists() == (shard == "20KB")


def test_a_folder_of_timm(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    model = timm.create_model("resnet10t", num_classes=3)
    timm.models.save_for_hf(model, tmp_path)
    contents = open_checkpoint(tmp_path)
    assert same(fetched(contents), model.state_dict())
    assert contents.hints["config"]["architecture"] == "resnet10t"


@pytest.mark.parametrize("safe", [True, False])
def test_folders_of_accelerate(tmp_path: Path, safe: bool) -> None:
    accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed")
    accelerator = accelerate.Accelerator(cpu=True)
    model = accelerator.prepare(network())
    accelerator.save_state(tmp_path / "state", safe_serialization=safe)
    accelerator.save_model(model, tmp_path / "model", max_shard_size="0.3KB", safe_serialization=safe)
    assert same(fetched(open_checkpoint(tmp_path / "state")), weights())
    assert "-sharded" in open_checkpoint(tmp_path / "model").container
    assert same(fetched(open_checkpoint(tmp_path / "model")), weights())


def test_one_file_of_a_models_folder_has_the_folders_hints(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architecture": "resnet50"}')
    for name in ("model.safetensors", "other.safetensors"):
        save_file(weights(), tmp_path / name)
    assert open_checkpoint(tmp_path / "model.safetensors").hints == {"config": {"architecture": "resnet50"}}
    assert open_checkpoint(tmp_path / "other.safetensors").hints == {}


def test_safetensors_are_taken_before_pickles(tmp_path: Path) -> None:
    save_file({"new": torch.ones(1)}, tmp_path / "model.safetensors")
    torch.save({"old": torch.ones(1)}, tmp_path / "pytorch_model.bin")
    assert list(fetched(open_checkpoint(tmp_path))) == ["new"]


def test_a_distributed_checkpoint_of_one_process(tmp_path: Path) -> None:
    halves = {name: values.half() if values.is_floating_point() else values for name, values in weights().items()}
    optimizer = {"state": {0: {"exp_avg": torch.ones(2, 3)}}, "param_groups": [{"lr": 0.1}]}
    dcp.save({"model": halves, "optimizer": optimizer, "epoch": 3}, checkpoint_id=tmp_path, no_dist=True)
    contents = open_checkpoint(tmp_path)
    expected = {f"model.{name}": values for name, values in halves.items()}
    assert same(fetched(contents), {**expected, "optimizer.state.0.exp_avg": torch.ones(2, 3)})
    assert contents.container == "dcp"
    assert contents.size == sum(path.stat().st_size for path in tmp_path.glob("*.distcp"))


def test_metadata_as_other_versions_write_it(tmp_path: Path) -> None:
    """Torch before 2.3 had one class elsewhere, and Python 3.13 another: the path that was saved to."""
    dcp.save(weights(), checkpoint_id=tmp_path, no_dist=True)
    metadata = pickle.loads((tmp_path / ".metadata").read_bytes())
    for entry in metadata.state_dict_metadata.values():
        entry.properties = OlderProperties(dtype=entry.properties.dtype)
    data = pickle.dumps(metadata, 2)
    assert b"ctorch.distributed._shard.sharded_tensor.metadata\nTensorProperties" in data
    assert b"cpathlib\nPosixPath" in data
    (tmp_path / ".metadata").write_bytes(data.replace(b"cpathlib\n", b"cpathlib._local\n"))
    assert same(fetched(open_checkpoint(tmp_path)), weights())


def test_a_distributed_checkpoint_below_a_folder_of_accelerate(tmp_path: Path) -> None:
    dcp.save({"model": weights()}, checkpoint_id=tmp_path / "pytorch_model_fsdp_0", no_dist=True)
    (tmp_path / "random_states_0.pkl").touch()
    assert same(fetched(open_checkpoint(tmp_path)), {f"model.{name}": values for name, values in weights().items()})


def test_a_distributed_checkpoint_of_safetensors(tmp_path: Path) -> None:
    mapping = {name: 1 + number % 2 for number, name in enumerate(weights())}
    writer = dcp.HuggingFaceStorageWriter(str(tmp_path), fqn_to_index_mapping=mapping)
    dcp.save(weights(), storage_writer=writer, no_dist=True)
    assert same(fetched(open_checkpoint(tmp_path)), weights())


def save_pieces(folder: Path, rank: int) -> None:
    """Shard five rows, one row and ten columns over two processes, and write them; process 0 writes the whole, too."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Linear(7, 1))
    wide = torch.arange(30.0).view(3, 10)
    whole = {f"net.{name}": values.clone() for name, values in net.state_dict().items()}
    if rank == 0:
        torch.save({**whole, "columns": wide, "copies": wide}, folder / "whole.pth")
    fully_shard(net, mesh=mesh)
    pieces = {name: distribute_tensor(wide, mesh, [part]) for name, part in PARTS.items()}
    dcp.save({"net": net.state_dict(), **pieces}, checkpoint_id=folder / "saved")
    dist.destroy_process_group()


PARTS = {"columns": Shard(1), "copies": Replicate()}


def test_tensors_that_two_processes_have_written_in_pieces(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")  # a fresh process would import torch anew
    processes = [context.Process(target=save_pieces, args=(tmp_path, rank)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
        assert process.exitcode == 0
    assert len(list((tmp_path / "saved").glob("*.distcp"))) == 2
    assert same(fetched(open_checkpoint(tmp_path / "saved")), torch.load(tmp_path / "whole.pth"))


@pytest.mark.parametrize("where", ["global_step20", "checkpoint", "pytorch_model", "."])
def test_folders_of_deepspeed(tmp_path: Path, where: str) -> None:
    (tmp_path / where).mkdir(exist_ok=True)
    (tmp_path / "latest").write_text(f"{where}\n" if where != "." else "gone")
    state = {"module": weights(), "buffer_names": ["1.running_mean"], "optimizer": None, "ds_version": "0.16.0"}
    torch.save(state, tmp_path / where / "mp_rank_00_model_states.pt")
    (tmp_path / where / "zero_pp_rank_0_mp_rank_00_optim_states.pt").touch()
    contents = open_checkpoint(tmp_path)
    assert contents.container == "deepspeed"
    assert same(fetched(contents, "module"), weights())


def test_weights_that_deepspeed_has_split(tmp_path: Path) -> None:
    step = tmp_path / "global_step1"
    step.mkdir()
    (tmp_path / "latest").write_text("global_step1")
    for rank in range(2):
        torch.save({"module": {}}, step / f"zero_pp_rank_{rank}_mp_rank_00_model_states.pt")
    with pytest.raises(CheckpointError, match=r"ZeRO stage 3 has split .* 2 files.*zero_to_fp32\.py"):
        open_checkpoint(tmp_path)
    for file in step.iterdir():
        file.unlink()
    torch.save({"module": None}, step / "mp_rank_00_model_states.pt")
    with pytest.raises(CheckpointError, match="no weights under its key 'module'"):
        open_checkpoint(tmp_path)
    torch.save({"module": weights()}, step / "mp_rank_01_model_states.pt")
    with pytest.raises(CheckpointError, match="2 files by model parallelism"):
        open_checkpoint(tmp_path)


def test_a_folder_of_a_trainers_files_names_them(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"without a checkpoint; expected model\.safetensors"):
        open_checkpoint(tmp_path)
    (tmp_path / "last.ckpt").touch()
    with pytest.raises(CheckpointError, match=rf"name the file: {tmp_path}/last\.ckpt$"):
        open_checkpoint(tmp_path)
    for epoch in range(6):
        (tmp_path / f"epoch={epoch}.ckpt").touch()
    with pytest.raises(CheckpointError, match=r"7 checkpoint files .* epoch=0\.ckpt, .* epoch=4\.ckpt and 2 more$"):
        open_checkpoint(tmp_path)


def test_one_part_of_a_folder_is_told_from_the_whole(tmp_path: Path) -> None:
    dcp.save(weights(), checkpoint_id=tmp_path / "dcp", no_dist=True)
    for part in ("__0_0.distcp", ".metadata"):
        with pytest.raises(CheckpointError, match=f"name its folder: {tmp_path}/dcp$"):
            open_checkpoint(tmp_path / "dcp" / part)
    (tmp_path / "shard-00001-model-00001-of-00001.safetensors").touch()
    with pytest.raises(CheckpointError, match="pieces of tensors .* enable_consolidation=True"):
        open_checkpoint(tmp_path)
    (tmp_path / "model_1.safetensors").touch()
    with pytest.raises(CheckpointError, match=r"several models \(model_1\.safetensors\)"):
        open_checkpoint(tmp_path)


def test_opening_reads_tables_only(tmp_path: Path) -> None:
    """The values of a tensor that nobody asks for may be gone; the others are read."""
    dcp.save({"a": torch.ones(4000), "b": torch.arange(4000)}, checkpoint_id=tmp_path, no_dist=True)
    (file,) = tmp_path.glob("*.distcp")
    data = file.read_bytes()
    at = data.index(torch.ones(4000).numpy().tobytes())
    file.write_bytes(data[:at] + os.urandom(16000) + data[at + 16000 :])
    contents = open_checkpoint(tmp_path)
    assert contents.tree["b"].fetch().equal(torch.arange(4000))
    with pytest.raises(CheckpointError, match="checksum does not fit"):
        contents.tree["a"].fetch()
