"""What people really have: each public case typed as its user typed it, and the right value.

These are of annotation files, times and pictures; those of runs and figures are in
`test_cases_runs.py`. `pytest tests -k cases` runs both.
"""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
from tests.desk import DeskOf


def test_case_01_subsets_restart_the_frame_numbers(desk_of: DeskOf) -> None:
    desk = desk_of("01-cvat-project-subsets")
    assert desk.run("tubelet data convert annotations.xml out.csv --videos ../videos").code == 0
    assert desk.times("out.csv") == {video: [0, 1, 2] for video in ("yard_a", "yard_b", "yard_c")}
    command = "tubelet data convert annotations_silent.xml out.csv --videos ../videos"
    assert desk.run(command).code == 0
    assert desk.times("out.csv") == {"yard_a": [0, 1], "yard_b": [2, 3]}


def test_case_03_a_checkbox_is_an_action(desk_of: DeskOf) -> None:
    desk = desk_of("03-cvat-checkbox-actions")
    answer = desk.run("tubelet data prepare annotations.xml --videos ../videos --out out")
    assert answer.code == 0, answer.err
    assert desk.classes("out") == ("walking", "on the phone")
    assert desk.said("out") == {
        ("yard_a", 0): {"walking", "on the phone"},
        ("yard_a", 1): set(),
        ("yard_b", 2): {"on the phone"},
    }
    assert desk.both("out").boxes.shape == (7, 4), "a row for each action, and one for none"
    answer = desk.run("tubelet data prepare annotations_mixed.xml --videos ../videos --out out2")
    assert answer.code == 0, answer.err
    assert set(desk.classes("out2")) == {"walking", "on the phone", "standing", "sitting"}
    assert desk.said("out2") == {
        ("yard_a", 0): {"standing", "walking", "on the phone"},
        ("yard_b", 1): {"sitting", "on the phone"},
    }


def test_case_04_a_turned_rectangle_is_enclosed(desk_of: DeskOf) -> None:
    desk = desk_of("04-cvat-rotated-box")
    answer = desk.run("tubelet data convert annotations.xml out.csv --videos ../videos")
    assert answer.code == 0
    lying = desk.table("out.csv").of_video("yard_a").boxes
    assert lying == pytest.approx(np.array([[0.25, 100 / 240, 0.75, 140 / 240]] * 2))
    assert "rotated" in answer.text


def test_case_05_the_export_of_a_job(desk_of: DeskOf) -> None:
    desk = desk_of("05-cvat-job-export")
    answer = desk.run("tubelet data convert annotations.xml out.csv --fps 25")
    assert answer.code == 0, answer.err
    assert list(desk.times("out.csv").values()) == [[2, 3]]
    assert desk.table("out.csv").boxes[0] == pytest.approx([0.125, 0.25, 0.375, 220 / 240])
    assert "--video" in answer.text, "the file does not name its film"
    answer = desk.run("tubelet data convert annotations.xml out.csv --fps 25 --video yard_a")
    assert desk.times("out.csv") == {"yard_a": [2, 3]}
    answer = desk.run("tubelet data convert annotations.xml out.csv --videos ../videos")
    assert answer.code == 2
    assert "--video" in answer.err


def test_case_06_key_frames_are_joined_as_cvat_does(desk_of: DeskOf) -> None:
    desk = desk_of("06-cvat-keyframes-only")
    answer = desk.run("tubelet data convert annotations.xml out.csv --videos ../videos")
    assert answer.code == 0
    assert "key frames" in answer.text
    command = "tubelet data prepare annotations.xml --videos ../videos --out out --every 0.5"
    answer = desk.run(command)
    assert answer.code == 0, answer.err
    for video in ("yard_a", "yard_b"):
        frame = desk.both("out").of_video(video).frame
        assert max(frame["time_us"].to_list()) < 3_520_000, "it is outside from frame 88 on"
        assert frame.height == 8
        second = frame.filter(frame["time_us"] == 1_000_000)
        assert second.select("x1", "x2").row(0) == pytest.approx((62 / 320, 102 / 320))


def test_case_07_every_keeps_the_nearest_moment_of_each_period(desk_of: DeskOf) -> None:
    desk = desk_of("07-every-drops-stepped-labels")
    command = "tubelet data convert annotations.xml out.csv --videos ../videos --every 0.5"
    assert desk.run(command).code == 0
    kept = desk.times("out.csv")["yard_a"]
    assert kept[:5] == [0.12, 0.4, 0.96, 1.52, 2.08]
    assert kept[5] in (2.36, 2.64)
    assert kept[-3:] == [2.92, 3.48, 3.76]


def test_case_08_labels_without_attributes_are_actions(desk_of: DeskOf) -> None:
    desk = desk_of("08-cvat-labels-and-attributes")
    command = "tubelet data prepare annotations.xml --videos ../videos --out out"
    asked = desk.run(command)
    assert asked.code == 2
    assert "vehicle" in asked.err
    assert "--person-label" in asked.err
    answer = desk.run(f"{command} --person-label digging --person-label resting")
    assert answer.code == 0, answer.err
    assert desk.classes("out") == ("digging", "resting")
    assert desk.said("out") == {("yard_a", 0): {"digging"}, ("yard_b", 2): {"resting"}}
    assert "vehicle" in answer.text, "what is left out has its line"
    answer = desk.run(f"{command} --ignore vehicle")
    assert answer.code == 0, answer.err
    assert desk.classes("out") == ("digging", "resting")


def test_case_11_label_studio(desk_of: DeskOf) -> None:
    desk = desk_of("11-label-studio-video")
    answer = desk.run("tubelet data prepare project.json --videos ../videos --out out")
    assert answer.code == 0, answer.err
    assert desk.classes("out") == ("digging", "resting")
    assert desk.times("out/train.csv").keys() | desk.times("out/val.csv").keys() == {
        "yard_a",
        "yard_b",
    }
    answer = desk.run("tubelet data convert project.json out.csv --videos ../videos --every 1")
    assert answer.code == 0
    # Switched off at frame 76, counted from 1; yard_b's last key holds to the film's end.
    assert desk.times("out.csv") == {"yard_a": [0, 1, 2, 2.96], "yard_b": [0, 1, 2, 3, 3.96]}
    assert desk.table("out.csv").boxes[0] == pytest.approx([0.125, 0.25, 0.375, 0.85])


def test_case_12_pictures_in_via(desk_of: DeskOf) -> None:
    desk = desk_of("12-via3-images-as-frames")
    asked = desk.run("tubelet data convert yard_a.json out.csv --size 320x240")
    assert asked.code == 2
    assert "picture" in asked.err
    assert "--fps" in asked.err
    assert desk.run("tubelet data convert yard_a.json out.csv --size 320x240 --fps 25").code == 0
    assert desk.times("out.csv") == {"yard_a": [0, 1, 2]}
    both = "tubelet data prepare yard_a.json yard_b.json --videos ../videos --out out"
    answer = desk.run(both)
    assert answer.code == 0, answer.err
    times = desk.times("out/train.csv") | desk.times("out/val.csv")
    assert times["yard_a"] == [0, 1, 2]
    assert "yard_a_" in answer.text, "how names were joined into films is shown"


def test_case_14_frame_numbers_are_no_seconds(desk_of: DeskOf) -> None:
    desk = desk_of("14-coco-frame-numbers-as-seconds")
    refused = desk.run("tubelet data convert cvat_coco.json out.csv --fps 25 --videos ../videos")
    assert refused.code == 2
    assert "--video" in refused.err
    command = "tubelet data convert pyslowfast_names.json out.csv --fps 25 --videos ../videos"
    assert desk.run(command).code == 0
    assert desk.times("out.csv") == {"yard_a": [0, 1], "yard_b": [0, 2]}
    assert desk.table("out.csv").frame["person"].to_list() == [3, 3, 3, 3]
    assert desk.run("tubelet data convert cocovid.json o.csv --fps 25 --videos ../videos").code == 0
    assert desk.times("o.csv") == {"yard_a": [0, 0.04, 0.08], "yard_b": [0, 0.04]}
    assert set(desk.table("o.csv").frame["person"]) == {7}


def test_case_15_roboflow(desk_of: DeskOf) -> None:
    desk = desk_of("15-roboflow-coco")
    asked = desk.run("tubelet data convert _annotations.coco.json out.csv")
    assert asked.code == 2
    assert "--fps" in asked.err
    assert desk.run("tubelet data convert _annotations.coco.json out.csv --fps 25").code == 0
    assert desk.times("out.csv") == {"yard_a": [0, 1], "yard_b": [0, 1]}
    answer = desk.run("tubelet data prepare category_zero.json --videos ../videos --out out")
    assert answer.code == 0, answer.err
    assert desk.classes("out") == ("digging", "resting")
    assert "yard-actions" in answer.text


def test_case_16_trackers(desk_of: DeskOf) -> None:
    desk = desk_of("16-mot-and-tracker-output")
    answer = desk.run("tubelet data convert gt.txt out.csv --fps 25 --size 320x240")
    assert answer.code == 0, answer.err
    assert list(desk.times("out.csv").values()) == [[0, 1, 2]]
    assert desk.table("out.csv").boxes[0] == pytest.approx([41 / 320, 0.25, 121 / 320, 220 / 240])
    assert desk.table("out.csv").frame["person"].to_list() == [1, 2] * 3
    asked = desk.run("tubelet data convert yolo_track_25.txt out.csv")
    assert asked.code == 2
    assert "YOLO" in asked.err
    assert desk.run("tubelet data convert yolo_track_25.txt out.csv --fps 25").code == 0
    assert desk.table("out.csv").boxes[0] == pytest.approx([0.125, 0.25, 0.375, 0.91])
    command = "tubelet detect ../videos/yard_a.mp4 --people gt.txt --out out --no-overlay --no-page"
    assert desk.run(command).code == 0
    found = desk.folder / "out" / "yard_a" / "detections.csv"
    times = {line.split(",")[1] for line in found.read_text().splitlines()}
    assert {float(time) for time in times} == {0, 1, 2}


def test_case_17_tables_of_other_programs(desk_of: DeskOf) -> None:
    desk = desk_of("17-datumaro-labelme-semicolon")

    def convert(name: str, more: str = "") -> tuple[int, str]:
        answer = desk.run(f"tubelet data convert {name} out.csv {more}")
        return answer.code, answer.text

    for name in ("excel_semicolon.csv", "utf16.csv", "digits_semicolon.csv"):
        code, text = convert(name)
        assert code == 0, text
        assert desk.table("out.csv").boxes[0] == pytest.approx([0.125, 0.25, 0.375, 0.92])
    for name in ("index_col.csv", "trailing_comma.csv"):
        code, text = convert(name)
        assert code == 0, text
        assert desk.table("out.csv").videos()[0] == "yard_a"
    code, text = convert("datumaro.json")
    assert code == 2
    assert "Datumaro" in text
    code, text = convert("datumaro.json", "--video yard_a --videos ../videos")
    assert code == 0, text
    assert desk.times("out.csv") == {"yard_a": [0, 1]}
    code, text = convert("labelme.json")
    assert code == 2
    assert "LabelMe" in text
    code, text = convert("labelme.json", "--fps 25")
    assert code == 0, text
    assert desk.times("out.csv") == {"yard_a": [0.96]}, "counted from 1, as FFmpeg writes them"
    code, text = convert("person_text.csv")
    assert code == 2
    assert "person ids are numbers" in text
    code, text = convert("labelname.csv")
    assert code == 2
    assert "--labels" in text
    code, text = convert("multi_label_one_cell.csv")
    assert code == 2
    assert "one row each" in text


def test_case_19_the_film_s_own_stamps(desk_of: DeskOf) -> None:
    desk = desk_of("19-start-time-offset")
    answer = desk.run("tubelet data prepare annotations.xml --videos videos --out out")
    assert answer.code == 0, answer.err
    times = desk.times("out/train.csv") | desk.times("out/val.csv")
    assert times == {v: [1.48, 2.48, 3.48, 4.48, 5.44] for v in ("yard_a", "yard_b")}
    doctor = "tubelet data doctor out/train.csv out/val.csv --labels out/labels.pbtxt"
    assert "keyframes" not in desk.run(f"{doctor} --videos videos").text


def test_case_21_one_choice_of_two_attributes_is_two_classes(desk_of: DeskOf) -> None:
    desk = desk_of("21-same-choice-in-two-attributes")
    command = "tubelet data prepare annotations.xml --videos ../videos --out out"
    assert desk.run(command).code == 0
    assert len(desk.classes("out")) == 6
    assert desk.said("out") == {
        ("yard_a", 0): {"left hand: tool", "right hand: empty"},
        ("yard_b", 1): {"left hand: empty", "right hand: tool"},
    }
    assert desk.run(command.replace("annotations.xml", "via.json")).code == 0
    assert len(desk.classes("out")) == 4
    assert set(map(frozenset, desk.said("out").values())) == {
        frozenset({"left hand: tool", "right hand: empty"})
    }


def test_case_22_attributes_that_are_no_actions(desk_of: DeskOf) -> None:
    desk = desk_of("22-attributes-that-are-no-actions")
    command = "tubelet data prepare annotations.xml --videos ../videos --out out"
    asked = desk.run(command)
    assert asked.code == 2
    for word in ("activity", "helmet", "who", "--attribute"):
        assert word in asked.err
    answer = desk.run(f"{command} --attribute activity")
    assert answer.code == 0, answer.err
    assert desk.classes("out") == ("digging", "resting")
    assert "helmet" in answer.text
    answer = desk.run(f"{command} --labels two.txt")
    assert answer.code == 0, answer.err
    assert desk.classes("out") == ("digging", "resting")


def test_case_23_float_person_ids(desk_of: DeskOf) -> None:
    desk = desk_of("23-float-person-ids")
    command = "tubelet data prepare train_and_val.csv --labels labels.pbtxt --videos ../videos"
    answer = desk.run(f"{command} --out out")
    assert answer.code == 0, answer.err
    source = (desk.folder / "train_and_val.csv").read_text().splitlines()
    people = sorted(int(float(line.rpartition(",")[2])) for line in source)
    assert sorted(desk.both("out").frame["person"].to_list()) == people


def test_case_24_several_files_are_one_set(desk_of: DeskOf) -> None:
    desk = desk_of("24-several-annotation-files")
    for number, sources in enumerate(("yard_a.xml yard_b.xml", ".", "both.zip")):
        if sources == "both.zip":
            with zipfile.ZipFile(desk.folder / sources, "w") as packed:
                for name in ("yard_a.xml", "yard_b.xml"):
                    packed.write(desk.folder / name, name)
        command = f"tubelet data prepare {sources} --videos ../videos --out ../out{number}"
        answer = desk.run(command)
        assert answer.code == 0, answer.err
        assert desk.classes(f"../out{number}") == ("digging", "resting")
        assert desk.both(f"../out{number}").videos() == ["yard_a", "yard_b"]
    single = desk.run("tubelet data prepare yard_a.xml --videos ../videos --out ../one")
    assert single.code == 2
    assert "only one video" in single.err.lower() or "single video" in single.err


def test_case_26_a_folder_of_frames_is_a_film(desk_of: DeskOf) -> None:
    desk = desk_of("26-folder-of-frames")
    asked = desk.run("tubelet detect frames/yard_a --out out")
    assert asked.code == 2
    assert "--fps" in asked.err
    answer = desk.run("tubelet detect frames/yard_a --fps 25 --out out --people person_small")
    assert answer.code == 0, answer.err
    assert (desk.folder / "out" / "yard_a" / "detections.csv").is_file()
    command = "tubelet data prepare truth.csv --labels labels.pbtxt --videos frames --out set"
    asked = desk.run(command)
    assert asked.code == 2
    assert "--fps" in asked.err
    assert not (desk.folder / "set").exists(), "an error leaves no half a set"
    answer = desk.run(f"{command} --fps 25")
    assert answer.code == 0, answer.err
    assert '"frame_rate": 25' in (desk.folder / "set" / "recipe.json").read_text()
