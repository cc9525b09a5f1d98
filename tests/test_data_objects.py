"""Records packed into one file; boxes, masks and keypoints of anybody's data, read by one rule."""

import pickle

import numpy as np
import pytest

from twinbench.data.errors import DataError
from twinbench.data.objects.packed import Records


def record(number, **more):
    things = [{"bbox": [1.5, 2, 3, 4], "bbox_mode": 1, "category_id": 0, "iscrowd": int(k == 0)} for k in range(number)]
    return {"file_name": f"/images/{number} ä.jpg", "width": 10 + number, "height": 20, "annotations": things, **more}


RECORDS = [record(3), record(0), record(1, image_id="seven")]


def test_packed_records_are_what_was_packed(tmp_path):
    packed = Records.pack(iter(RECORDS), tmp_path / "records")
    assert list(packed) == RECORDS


def test_packed_records_can_be_opened_again(tmp_path):
    Records.pack(RECORDS, tmp_path / "records")
    assert list(Records.open(tmp_path / "records")) == RECORDS


def test_shapes_and_objects_need_no_record(tmp_path):
    packed = Records.pack(RECORDS, tmp_path / "records")
    assert packed.shapes.tolist() == [[13, 20], [10, 20], [11, 20]]
    assert packed.objects.tolist() == [2, 0, 0]  # the first of each is a crowd


def test_a_view_shows_the_chosen_records():
    view = Records.of(RECORDS).where(np.array([True, False, True]))
    assert list(view) == [RECORDS[0], RECORDS[2]]
    assert view.shapes.tolist() == [[13, 20], [11, 20]]
    assert list(view[1:]) == [RECORDS[2]]
    assert view[-1] == RECORDS[2]


def test_who_changes_a_record_changes_his_own():
    packed = Records.of(RECORDS)
    packed[0]["annotations"].clear()
    assert packed[0] == RECORDS[0]


def test_another_process_gets_the_path_and_not_the_bytes(tmp_path):
    packed = Records.pack([record(100)] * 100, tmp_path / "records").where(np.array([3, 4]))
    pickled = pickle.dumps(packed)
    assert len(pickled) < 1000
    assert list(pickle.loads(pickled)) == [record(100)] * 2


def test_no_records_at_all_can_be_packed(tmp_path):
    assert len(Records.pack([], tmp_path / "records")) == 0


@pytest.mark.parametrize("content", [b"", b"half of a file"])
def test_another_file_is_refused(tmp_path, content):
    (tmp_path / "records").write_bytes(content)
    with pytest.raises(DataError, match=r"records: no packed records.* remove it"):
        Records.open(tmp_path / "records")
