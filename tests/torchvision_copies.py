"""Small copies of torchvision's data sets, in the files that torchvision's own classes read.

Where torchvision proves a file by its MD5, the test makes the published digest that of the small file: nothing that
reads is left out.
"""

import bz2
import csv
import hashlib
import json
import pickle
import struct
from pathlib import Path

import numpy as np
import torchvision.datasets as published
from PIL import Image
from scipy.io import savemat

CELEBA = ("5_o_Clock_Shadow", "Young")


def pixels(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def picture(path, seed=0, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed, 20, 24, 3)).save(path, **how)


def text(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def pickled(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content))


def mat(path, **arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, arrays)


def idx(path, array):
    """Write the format of MNIST's files: a magic number, the sizes, the values."""
    kind = {"uint8": 8, "int32": 12}[array.dtype.name]
    path.parent.mkdir(parents=True, exist_ok=True)
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape)
    path.write_bytes(head + array.astype(array.dtype.newbyteorder(">")).tobytes())


def cifar10(root, patch):
    base = root / "cifar-10-batches-py"
    for number in range(1, 6):
        pickled(base / f"data_batch_{number}", {"data": pixels(number, 2, 3072), "labels": [number % 2, 1]})
    pickled(base / "test_batch", {"data": pixels(9, 2, 3072), "labels": [0, 1]})
    pickled(base / "batches.meta", {"label_names": ["airplane", "automobile"]})
    of = published.CIFAR10
    patch.setattr(of, "train_list", [[name, md5(base / name)] for name, _ in of.train_list])
    patch.setattr(of, "test_list", [[name, md5(base / name)] for name, _ in of.test_list])
    patch.setattr(of, "meta", of.meta | {"md5": md5(base / "batches.meta")})


def cifar100(root, patch):
    base = root / "cifar-100-python"
    for name in ("train", "test"):
        pickled(base / name, {"data": pixels(5, 2, 3072), "fine_labels": [0, 1], "coarse_labels": [0, 0]})
    pickled(base / "meta", {"fine_label_names": ["apple", "baby"]})
    of = published.CIFAR100
    patch.setattr(of, "train_list", [["train", md5(base / "train")]])
    patch.setattr(of, "test_list", [["test", md5(base / "test")]])
    patch.setattr(of, "meta", of.meta | {"md5": md5(base / "meta")})


def stl10(root, patch):
    base = root / "stl10_binary"
    base.mkdir(parents=True)
    for name in ("train", "test", "unlabeled"):
        (base / f"{name}_X.bin").write_bytes(pixels(len(name), 2, 3, 96, 96).tobytes())
    for name in ("train", "test"):
        (base / f"{name}_y.bin").write_bytes(bytes([1, 2]))
    text(base / "class_names.txt", ["airplane", "bird"])
    of = published.STL10
    patch.setattr(of, "train_list", [[name, md5(base / name)] for name, _ in of.train_list])
    patch.setattr(of, "test_list", [[name, md5(base / name)] for name, _ in of.test_list])


def svhn(root, patch):
    lists = {}
    for split, (address, name, _) in published.SVHN.split_list.items():
        mat(root / name, X=pixels(len(split), 32, 32, 3, 3), y=np.array([[10], [1], [9]], dtype=np.uint8))
        lists[split] = [address, name, md5(root / name)]
    patch.setattr(published.SVHN, "split_list", lists)


def mnist_like(name):
    def make(root, patch):
        raw = root / name / "raw"
        for split in ("train", "t10k"):
            idx(raw / f"{split}-images-idx3-ubyte", pixels(len(split), 3, 28, 28))
            idx(raw / f"{split}-labels-idx1-ubyte", np.array([0, 1, 9], dtype=np.uint8))

    return make


def qmnist(root, patch):
    raw = root / "QMNIST" / "raw"
    for split in ("train", "test"):
        idx(raw / f"qmnist-{split}-images-idx3-ubyte", pixels(len(split), 3, 28, 28))
        idx(raw / f"qmnist-{split}-labels-idx2-int", np.array([[0, 5], [1, 5], [9, 5]], dtype=np.int32))


def emnist(root, patch):
    for kind, labels in (("balanced", [0, 1, 46]), ("letters", [1, 2, 26])):
        for split in ("train", "test"):
            raw = root / "EMNIST" / "raw"
            idx(raw / f"emnist-{kind}-{split}-images-idx3-ubyte", pixels(len(split), 3, 28, 28))
            idx(raw / f"emnist-{kind}-{split}-labels-idx1-ubyte", np.array(labels, dtype=np.uint8))


def usps(root, patch):
    root.mkdir(parents=True, exist_ok=True)
    for name in ("usps.bz2", "usps.t.bz2"):
        values = np.linspace(-1, 1, 256)
        line = " ".join(f"{place}:{value:.3f}" for place, value in enumerate(values, 1))
        (root / name).write_bytes(bz2.compress(f"1 {line}\n10 {line}\n".encode()))


def semeion(root, patch):
    marks = np.zeros((2, 266), dtype=int)
    marks[:, :100], marks[0, 256], marks[1, 265] = 1, 1, 1
    root.mkdir(parents=True, exist_ok=True)
    np.savetxt(root / "semeion.data", marks, fmt="%d")
    patch.setattr(published.SEMEION, "md5_checksum", md5(root / "semeion.data"))


def fer2013(root, patch):
    path = root / "fer2013" / "fer2013.csv"
    path.parent.mkdir(parents=True)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["emotion", "pixels", "Usage"])
        for usage, label in (("Training", 0), ("Training", 6), ("PublicTest", 0), ("PrivateTest", 6)):
            rows.writerow([label, " ".join(map(str, pixels(label, 48 * 48))), usage])
    patch.setitem(published.FER2013._RESOURCES, "fer", ("fer2013.csv", md5(path)))


def pcam(root, patch):
    import h5py

    for files in published.PCAM._FILES.values():
        (root / "pcam").mkdir(parents=True, exist_ok=True)
        with h5py.File(root / "pcam" / files["images"][0], "w") as file:
            file["x"] = pixels(4, 2, 96, 96, 3)
        with h5py.File(root / "pcam" / files["targets"][0], "w") as file:
            file["y"] = np.array([0, 1], dtype=np.uint8).reshape(2, 1, 1, 1)


def food101(root, patch):
    base = root / "food-101"
    for split, number in (("train", 1), ("test", 2)):
        content = {name: [f"{name}/{number}"] for name in ("waffles", "apple_pie")}
        text(base / "meta" / f"{split}.json", [json.dumps(content)])
        for name in content:
            picture(base / "images" / name / f"{number}.jpg", number)


def dtd(root, patch):
    base = root / "dtd" / "dtd"
    for partition in (1, 2):
        for number, split in enumerate(("train", "val", "test")):
            names = [f"banded/banded_{partition}{number}.jpg", f"zigzagged/zigzagged_{partition}{number}.jpg"]
            text(base / "labels" / f"{split}{partition}.txt", names)
            for name in names:
                picture(base / "images" / name, number)


def pets(root, patch):
    base = root / "oxford-iiit-pet"
    for split, number in (("trainval", 1), ("test", 2)):
        lines = [f"great_pyrenees_{number} 2 2 1", f"Abyssinian_{number} 1 1 1"]
        text(base / "annotations" / f"{split}.txt", lines)
        for line in lines:
            picture(base / "images" / f"{line.split()[0]}.jpg", number)


def flowers(root, patch):
    base = root / "flowers-102"
    mat(base / "imagelabels.mat", labels=np.array([[1, 102, 1, 102, 1, 102]]))
    mat(base / "setid.mat", trnid=np.array([[1, 2]]), valid=np.array([[3, 4]]), tstid=np.array([[5, 6]]))
    for number in range(1, 7):
        picture(base / "jpg" / f"image_{number:05}.jpg", number)
    files = {name: (file, md5(base / file)) for name, (file, _) in published.Flowers102._file_dict.items()
             if name != "image"}  # fmt: skip
    patch.setattr(published.Flowers102, "_file_dict", files)


def aircraft(root, patch):
    base = root / "fgvc-aircraft-2013b" / "data"
    for file, level, names in (
        ("variants", "variant", ["707-320", "A300 B4"]),
        ("families", "family", ["Boeing 707", "A300"]),
        ("manufacturers", "manufacturer", ["Airbus", "Boeing"]),
    ):
        text(base / f"{file}.txt", names)
        for number, split in enumerate(("train", "val", "trainval", "test")):
            lines = [f"{number}00{place} {name}" for place, name in enumerate(names)]
            text(base / f"images_{level}_{split}.txt", lines)
            for line in lines:
                picture(base / "images" / f"{line.split()[0]}.jpg", number)


def cars(root, patch):
    base = root / "stanford_cars"
    fields = [("fname", object), ("class", object)]
    for path, folder in (
        ("devkit/cars_train_annos.mat", "cars_train"),
        ("cars_test_annos_withlabels.mat", "cars_test"),
    ):
        mat(base / path, annotations=np.array([("00001.jpg", 2), ("00002.jpg", 1)], dtype=fields))
        for number in (1, 2):
            picture(base / folder / f"0000{number}.jpg", number)
    names = np.array(["AM General Hummer SUV 2000", "Acura RL Sedan 2012"], dtype=object)
    mat(base / "devkit" / "cars_meta.mat", class_names=names)


def sun397(root, patch):
    base = root / "SUN397"
    text(base / "ClassName.txt", ["/a/abbey", "/a/apartment_building/outdoor"])
    for number in (2, 1):
        picture(base / "a" / "abbey" / f"sun_{number}.jpg", number)
        picture(base / "a" / "apartment_building" / "outdoor" / f"sun_{number}.jpg", number)


def caltech101(root, patch):
    for name in ("BACKGROUND_Google", "Faces", "accordion"):
        for number in (1, 2):
            picture(root / "caltech101" / "101_ObjectCategories" / name / f"image_{number:04}.jpg", number)


def caltech256(root, patch):
    for label, name in enumerate(("001.ak47", "002.american-flag"), 1):
        for number in (1, 2):
            picture(root / "caltech256" / "256_ObjectCategories" / name / f"{label:03}_{number:04}.jpg", number)


def gtsrb(root, patch):
    base = root / "gtsrb"
    for sign in (0, 1):
        picture(base / "GTSRB" / "Training" / f"{sign:05}" / "00000_00000.ppm", sign)
        picture(base / "GTSRB" / "Final_Test" / "Images" / f"0000{sign}.ppm", sign)
    text(base / "GT-final_test.csv", ["Filename;Width;ClassId", "00000.ppm;24;1", "00001.ppm;24;0"])


def folders(*below, names, suffix):
    def make(root, patch):
        for number, base in enumerate(below):
            for name in names:
                picture(root / base / name / f"{number}{suffix}", number)

    return make


def places365(root, patch):
    text(root / "categories_places365.txt", ["/a/airfield 0", "/a/airplane_cabin 1"])
    patch.setattr(published.Places365, "_CATEGORIES_META", ("categories_places365.txt",
                  md5(root / "categories_places365.txt")))  # fmt: skip
    lists = {}
    for split, (name, _) in published.Places365._FILE_LIST_META.items():
        lead = "/a/airfield/" if split.startswith("train") else ""
        text(root / name, [f"{lead}1.jpg 0", f"{lead}2.jpg 1"])
        lists[split] = (name, md5(root / name))
    patch.setattr(published.Places365, "_FILE_LIST_META", lists)
    for number in (1, 2):
        picture(root / "data_large_standard" / "a" / "airfield" / f"{number}.jpg", number)
        picture(root / "data_256_standard" / "a" / "airfield" / f"{number}.jpg", number)
        picture(root / "val_large" / f"{number}.jpg", number)
        picture(root / "val_256" / f"{number}.jpg", number)


def inaturalist(root, patch):
    names = [f"{number:05}_Animalia_Chordata_Aves_Passeriformes_Corvidae_Corvus_c{number}" for number in (0, 1)]
    folders("2021_train", "2021_valid", names=names, suffix=".jpg")(root, patch)


def clevr(root, patch):
    base = root / "clevr" / "CLEVR_v1.0"
    for number, split in enumerate(("train", "val", "test")):
        for objects in (3, 10):
            picture(base / "images" / split / f"{split}_{objects}.png", number)
        scenes = [{"image_filename": f"{split}_{count}.png", "objects": [{}] * count} for count in (3, 10)]
        text(base / "scenes" / f"CLEVR_{split}_scenes.json", [json.dumps({"scenes": scenes})])


def celeba(root, patch):
    base = root / "celeba"
    names = [f"{number:06}.jpg" for number in range(1, 7)]
    text(base / "list_eval_partition.txt", [f"{name} {place // 2}" for place, name in enumerate(names)])
    text(base / "identity_CelebA.txt", [f"{name} 7" for name in names])
    text(base / "list_bbox_celeba.txt", ["6", "image_id x_1 y_1 width height", *(f"{name} 1 1 1 1" for name in names)])
    text(base / "list_landmarks_align_celeba.txt", ["6", "x y", *(f"{name} 1 1" for name in names)])
    marks = [f"{name}  1 -1" if place % 2 else f"{name} -1  1" for place, name in enumerate(names)]
    text(base / "list_attr_celeba.txt", ["6", f"{' '.join(CELEBA)} ", *marks])
    for name in names:
        picture(base / "img_align_celeba" / name)
    of = published.CelebA
    lists = [(key, md5(base / name), name) for key, _, name in of.file_list if name.endswith(".txt")]
    patch.setattr(of, "file_list", lists)


COPIES = {
    "CIFAR10": cifar10,
    "CIFAR100": cifar100,
    "STL10": stl10,
    "SVHN": svhn,
    "MNIST": mnist_like("MNIST"),
    "FashionMNIST": mnist_like("FashionMNIST"),
    "KMNIST": mnist_like("KMNIST"),
    "QMNIST": qmnist,
    "EMNIST": emnist,
    "USPS": usps,
    "SEMEION": semeion,
    "FER2013": fer2013,
    "PCAM": pcam,
    "Food101": food101,
    "DTD": dtd,
    "OxfordIIITPet": pets,
    "Flowers102": flowers,
    "FGVCAircraft": aircraft,
    "StanfordCars": cars,
    "SUN397": sun397,
    "Caltech101": caltech101,
    "Caltech256": caltech256,
    "GTSRB": gtsrb,
    "EuroSAT": folders("eurosat/2750", names=("Forest", "River"), suffix=".jpg"),
    "RenderedSST2": folders(
        "rendered-sst2/train",
        "rendered-sst2/valid",
        "rendered-sst2/test",
        names=("negative", "positive"),
        suffix=".png",
    ),
    "Country211": folders("country211/train", "country211/valid", "country211/test", names=("AD", "ZW"), suffix=".jpg"),
    "Imagenette": folders("imagenette2/train", "imagenette2/val", names=("n01440764", "n03888257"), suffix=".JPEG"),
    "Places365": places365,
    "INaturalist": inaturalist,
    "CLEVRClassification": clevr,
    "CelebA": celeba,
}


def make(name: str, root: Path, patch) -> str:
    """Write a small copy; return how DATA is typed."""
    COPIES[name](root, patch)
    return f"torchvision:{name}={root}"
