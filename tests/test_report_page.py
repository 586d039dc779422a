"""The page's data: content of the folder, escaping of untrusted text, long videos and many videos."""

from __future__ import annotations

import base64
import json
import re

import av
import numpy as np
import pytest

import odd_media as odd
from avloc.config import LIKELY, LocalizeConfig
from avloc.errors import FormatError, InputError
from avloc.figures import result_html
from avloc.formats.detections import write_segments_json
from avloc.formats.results import find_results
from avloc.media.previews import COLUMNS, make_preview, make_proxy, plays_in_browsers
from avloc.media.probe import probe
from avloc.pipeline.localizer import Localization
from avloc.report.page.build import build_page
from avloc.report.page.write import ASSETS, MAX_COLUMNS, script_json
from avloc.report.sources import PageSources
from avloc.types import Detection
from page_data import CLASSES, NASTY_LABEL, NASTY_NAME, activations, make_world, write_clip, write_run


def data_of(page, name):
    text = (page / "data" / f"{name}.js").read_text(encoding="ascii")  # ASCII only
    match = re.fullmatch(rf"avlocPage\.receive\('{name}', (.*)\);\n", text, re.DOTALL)
    assert "<" not in match[1]
    return json.loads(match[1])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    home = tmp_path_factory.mktemp("world")
    make_world(home)
    return home


@pytest.fixture(scope="module")
def page(world):
    sources = PageSources(
        world / "ours",
        world / "truth.json",
        compare=(world / "other",),
        audio=world / "sound",
        visual=world / "sight",
    )
    built = build_page(sources, world / "page")
    assert (built.count, built.proxies, dict(built.problems)) == (3, 0, {})
    return built.folder


def test_index_says_what_the_list_shows(page):
    index = data_of(page, "index")
    assert index["runs"] == ["ours", "other"]
    assert set(index["classes"]) == set(CLASSES)
    assert [v["video_id"] for v in index["videos"]] == sorted(["dog", NASTY_NAME, "extra 0"])
    dog = next(v for v in index["videos"] if v["video_id"] == "dog")
    assert dog["errors"] == 0
    assert dog["mean_t_iou"] == pytest.approx((2.5 / 3.1 + 2.9 / 3.0) / 2, abs=0.12)
    assert [scores["0.50"] for scores in index["mean_ap"]] == [1.0, 1.0]
    assert index["options"][0]["threshold_factor"] == 0.5


def test_a_page_keeps_the_subsets_of_the_ground_truth(world, tmp_path):
    truth = (world / "truth.json").read_text(encoding="utf-8").replace('"validation"', '"testing"')
    (tmp_path / "truth.json").write_text(truth, encoding="utf-8")
    built = build_page(PageSources(world / "ours", tmp_path / "truth.json"), tmp_path / "page")
    files = [v["file"] for v in data_of(built.folder, "index")["videos"]]
    assert {data_of(built.folder, name)["subset"] for name in files} == {"testing"}


def test_a_video_holds_its_strips_to_a_255th(page):
    index = data_of(page, "index")
    name = next(v["file"] for v in index["videos"] if v["video_id"] == "dog")
    video = data_of(page, name)
    assert video["duration_s"] == 12.0
    assert [row[2] for row in video["truth"]] == ["bark", NASTY_LABEL]
    run = video["runs"][0]
    assert run["grid"] == [0.0, 0.5, 24]
    a = activations("dog")
    ranked = sorted(zip(a.video_scores, a.classes, strict=True), reverse=True)
    assert [one["name"] for one in run["classes"]] == [name for _, name in ranked]
    assert [one["score"] for one in run["classes"]] == pytest.approx([score for score, _ in ranked])
    for one in run["classes"]:
        strip = np.frombuffer(base64.b64decode(one["fused"]), np.uint8) / 255
        assert np.abs(strip - a.probs[:, 1 + a.classes.index(one["name"])]).max() <= 0.5 / 255 + 1e-6
        assert {"audio", "visual"} <= set(one)
    assert np.frombuffer(base64.b64decode(video["waveform"]), np.uint8).max() > 80
    assert video["thumbs"]["count"] >= COLUMNS
    assert (page / video["thumbs"]["url"]).read_bytes()[:2] == b"\xff\xd8"
    assert (page / "data" / video["media"]).exists() or (page / video["media"]).exists()


def test_nothing_in_the_folder_is_named_by_others(page):
    names = [path.name for path in page.rglob("*")]
    assert not any("dog" in name or "script" in name for name in names)
    assert set(ASSETS) <= set(names)


def test_the_page_asks_nothing_of_the_network(page):
    for path in [page / "index.html", *(page / "assets").iterdir()]:
        text = path.read_text(encoding="utf-8")
        assert not re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?https?:", text), path
        assert ".innerHTML" not in text
        assert "insertAdjacentHTML" not in text
        assert "document.write" not in text
    for path in (page / "assets").iterdir():
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 350


def test_script_json_cannot_leave_its_script():
    text = script_json({"a": "</script><!--\u2028\u2029&", "b": "é"})
    assert re.fullmatch(r"[ -~]*", text)
    assert not set("<>&") & set(text)
    assert json.loads(text) == {"a": "</script><!--\u2028\u2029&", "b": "é"}
    assert script_json([float("nan"), float("inf"), 1.5]) == "[null,null,1.5]"


def test_two_hours_are_decimated_by_the_largest(tmp_path):
    long = activations("long", count=20_000, duration_s=10_000.0)
    write_run(tmp_path / "det", {"long": long}, {})
    build_page(PageSources(tmp_path / "det"), tmp_path / "page")
    video = data_of(tmp_path / "page", "v0001")
    run = video["runs"][0]
    start, step, count = run["grid"]
    assert run["fold"] == 3
    assert count <= MAX_COLUMNS
    assert start + step * count >= 10_000
    strip = np.frombuffer(base64.b64decode(run["classes"][0]["fused"]), np.uint8)
    column = 1 + CLASSES.index(run["classes"][0]["name"])
    assert strip.max() == round(long.probs[:, column].max() * 255)
    assert (tmp_path / "page" / "data" / "v0001.js").stat().st_size < 120_000
    assert "--videos" in video["note"]


def test_hundreds_of_videos_load_as_needed(tmp_path):
    write_run(tmp_path / "det", {f"v {k:03d}": activations(f"v {k:03d}") for k in range(200)}, {})
    built = build_page(PageSources(tmp_path / "det"), tmp_path / "page")
    assert built.count == 200
    assert (tmp_path / "page" / "data" / "index.js").stat().st_size < 60_000
    assert len(list((tmp_path / "page" / "data").glob("v*.js"))) == 200


def test_a_bare_table_of_detections_is_enough(world, tmp_path):
    built = build_page(PageSources(world / "ours" / "segments.csv", videos=world / "videos"), tmp_path / "page")
    assert built.count == 3
    assert data_of(tmp_path / "page", "v0001")["runs"][0]["grid"] is None


def test_videos_can_be_copied_or_served(world, tmp_path):
    build_page(PageSources(world / "ours"), tmp_path / "copied", media="copy")
    assert (tmp_path / "copied" / data_of(tmp_path / "copied", "v0001")["media"]).is_file()
    served = build_page(PageSources(world / "ours"), tmp_path / "served", media="serve").served
    assert set(served) == {"media/v0001.mp4", "media/v0002.mp4", "media/v0003.mp4"}


def test_what_is_missing_is_said(world, tmp_path):
    with pytest.raises(InputError, match="avloc localize"):
        find_results(tmp_path).read()
    (tmp_path / "truth.json").write_text('{"database": {"x": {"duration": 1.0, "annotations": []}}}')
    with pytest.raises(InputError, match="none of its 1 videos"):
        build_page(PageSources(world / "ours", tmp_path / "truth.json"), tmp_path / "page")
    (tmp_path / "segments.json").write_text("{}")
    with pytest.raises(FormatError, match="results"):
        build_page(PageSources(tmp_path), tmp_path / "page")


def test_a_broken_video_costs_its_picture_only(world, tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "dog.mp4").write_bytes(b"no video at all")
    built = build_page(PageSources(world / "ours" / "segments.csv", videos=tmp_path / "videos"), tmp_path / "page")
    assert built.count == 3
    assert "dog" in built.problems


def test_a_detection_of_another_class_is_no_agreement(tmp_path):
    a = activations("v")
    folder = tmp_path / "det"
    write_run(folder, {"v": a}, {})
    write_segments_json(
        folder / "segments.json", {"v": [Detection(1, 5, "whistle", 0.9), Detection(6, 7, "bark", 0.1)]}
    )
    instances = [{"label": "bark", "segment": [1.0, 5.0]}, {"label": "bark", "segment": [6.0, 7.5]}]
    content = {"database": {"v": {"duration": 12.0, "annotations": instances}}}
    (tmp_path / "truth.json").write_text(json.dumps(content))
    build_page(PageSources(folder, tmp_path / "truth.json"), tmp_path / "page")
    (entry,) = data_of(tmp_path / "page", "index")["videos"]
    assert entry["errors"] == 2  # the whistle is false, one bark is missed
    assert entry["mean_t_iou"] == pytest.approx((0 + 1 / 1.5) / 2)


def test_agreement_is_matched_by_score_and_averaged_over_instances(tmp_path):
    """The first detection overlaps both instances, and takes the second because the stronger one takes the first."""
    folder = tmp_path / "det"
    write_run(folder, {"v": activations("v", duration_s=20.0)}, {})
    write_segments_json(folder / "segments.json", {"v": [Detection(1, 11, "bark", 0.5), Detection(0, 8, "bark", 0.9)]})
    instances = [{"label": "bark", "segment": [0.0, 10.0]}, {"label": "bark", "segment": [3.0, 13.0]}]
    content = {"database": {"v": {"duration": 20.0, "annotations": instances}}}
    (tmp_path / "truth.json").write_text(json.dumps(content))
    build_page(PageSources(folder, tmp_path / "truth.json"), tmp_path / "page")
    (entry,) = data_of(tmp_path / "page", "index")["videos"]
    assert entry["errors"] == 0
    assert entry["mean_t_iou"] == pytest.approx((9 / 11 + 8 / 12) / 2)


def test_the_time_axis_is_that_of_the_activations(world, tmp_path):
    write_run(tmp_path / "det", {"v": activations("v", duration_s=11.5)}, {"v": world / "videos" / "dog.mp4"})
    page = build_page(PageSources(tmp_path / "det"), tmp_path / "page").folder
    assert data_of(page, "index")["videos"][0]["duration_s"] == 11.5
    assert data_of(page, "v0001")["duration_s"] == 11.5


def test_proxies_for_what_browsers_do_not_play(tmp_path):
    """An avi with MPEG-4 video becomes H.264 with the same timing; an mp4 is left unchanged."""
    source = tmp_path / "old.avi"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for k in range(40):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 6 * k, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    media = probe(source)
    assert not plays_in_browsers(media)
    assert make_proxy(media, tmp_path / "proxy.mp4")
    assert not make_proxy(media, tmp_path / "proxy.mp4")  # already exists
    made = probe(tmp_path / "proxy.mp4")
    assert plays_in_browsers(made)
    assert made.duration_s == pytest.approx(media.duration_s, abs=0.051)
    write_clip(tmp_path / "new.mp4")
    assert plays_in_browsers(probe(tmp_path / "new.mp4"))


def test_previews_show_the_right_moment(tmp_path):
    """The clip's brightness encodes the time in tenths of a second: thumbnail k is the middle of its interval."""
    import io

    from PIL import Image

    from avloc.media.encode import write_video

    t = np.arange(12 * 16000) / 16000
    tone = (0.4 * np.sin(2000 * t) * ((t >= 4) & (t < 8))).astype(np.float32)
    write_video(tmp_path / "clip.mp4", (np.full((48, 64, 3), 2 * k, np.uint8) for k in range(120)), 10, tone)
    preview = make_preview(probe(tmp_path / "clip.mp4"))
    sheet = preview.sheet
    picture = np.array(Image.open(io.BytesIO(sheet.jpeg)).convert("L")).astype(int)
    assert sheet.count == 12
    for k in range(sheet.count):
        top, left = k // COLUMNS * sheet.height, k % COLUMNS * sheet.width
        assert abs(picture[top + 20, left + 20] - 2 * (10 * k + 5)) <= 5
    wave = preview.waveform / 255
    quarter = len(wave) // 12
    assert wave[5 * quarter : 7 * quarter].min() > 0.3
    assert wave[: 3 * quarter].max() < 0.05


def test_the_waveform_of_a_short_video_reaches_its_end(tmp_path):
    """Three seconds have 200 intervals; the click is at 2.5 s."""
    path = odd.write_video(tmp_path / "v.mkv", odd.grey_frames(30), sound=odd.clicks(3, 16000, [2.5]))
    wave = make_preview(probe(path)).waveform
    assert len(wave) == 200
    assert np.flatnonzero(wave > 100)[0] == pytest.approx(2.5 / 3 * 200, abs=1)


def test_thumbnails_of_long_videos_are_from_the_middle_of_their_steps(tmp_path):
    """Twelve minutes at 1 fps, all key frames; the brightness is four times the second within the minute."""
    import io

    from PIL import Image

    pictures = [np.full((48, 64, 3), 4 * (k % 60), np.uint8) for k in range(720)]
    path = odd.write_video(tmp_path / "long.mp4", pictures, rate=1, options={"g": "1"})
    sheet = make_preview(probe(path)).sheet
    picture = np.array(Image.open(io.BytesIO(sheet.jpeg)).convert("L")).astype(int)
    seen = [picture[k // COLUMNS * sheet.height + 20, k % COLUMNS * sheet.width + 20] for k in range(120)]
    np.testing.assert_allclose(seen, [4 * ((6 * k + 3) % 60) for k in range(120)], atol=5)


def test_long_videos_are_looked_at_by_seeking(tmp_path):
    """Twelve minutes at 1 fps, a key frame at least every 250 frames: thumbnails are close to their time."""
    import io

    from PIL import Image

    from avloc.media.encode import write_video

    frames = (np.full((48, 64, 3), k // 4, np.uint8) for k in range(720))
    write_video(tmp_path / "long.mp4", frames, 1)
    sheet = make_preview(probe(tmp_path / "long.mp4")).sheet
    picture = np.array(Image.open(io.BytesIO(sheet.jpeg)).convert("L")).astype(int)
    assert sheet.count == 120
    seen = [picture[k // COLUMNS * sheet.height + 20, k % COLUMNS * sheet.width + 20] for k in range(120)]
    expected = [int((k + 0.5) * sheet.step_s) // 4 for k in range(120)]
    behind = np.array(expected) - seen
    assert behind.min() >= -4
    assert behind.max() <= 250 // 4 + 4  # maximum key frame interval of the encoder


def test_notebooks_show_text_as_text():
    a = activations("<b>name</b>")
    result = Localization((Detection(1, 2, NASTY_LABEL, 0.5),), a)
    html = result._repr_html_()
    assert "<img" not in html
    assert "&lt;b&gt;name" in html
    assert html == result_html(a, result.detections)
    many = [Detection(k / 10, k / 10 + 1, "bark", 0.5) for k in range(33)]
    assert "<p>and 3 more</p>" in result_html(a, many)
    assert result_html(a, many).count("<tr><td>") == 30


def test_a_useless_folder_of_videos_that_nobody_named_is_no_error(tmp_path):
    write_run(tmp_path / "det", {"v": activations("v")}, {})
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "notes.txt").write_text("no video")
    assert build_page(PageSources(tmp_path / "det"), tmp_path / "page").count == 1
    with pytest.raises(InputError, match=r"notes|\.txt"):
        build_page(PageSources(tmp_path / "det", videos=tmp_path / "videos"), tmp_path / "page")


def test_a_table_in_the_folder_of_a_localization_is_read_with_its_rule(tmp_path):
    write_run(tmp_path / "det", {"v": activations("v")}, {}, LocalizeConfig())
    assert (
        find_results(tmp_path / "det").read().likely_from
        == find_results(tmp_path / "det" / "segments.csv").read().likely_from
        == LIKELY
    )
    (tmp_path / "alone.csv").write_bytes((tmp_path / "det" / "segments.csv").read_bytes())
    assert find_results(tmp_path / "alone.csv").read().likely_from == 0
