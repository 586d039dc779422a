"""The demo set: statistics of the plan, and agreement of frames and audio with the plan."""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import av
import numpy as np
import pytest

from avloc import demo
from avloc.demo import plans
from avloc.demo.frames import FrameRenderer
from avloc.demo.sounds import action_sound, distractor_sound
from avloc.demo.soundtrack import sound_track
from avloc.demo.timing import STRIKE_HZ, strike_times_s
from avloc.errors import InputError

PLANS = {seed: demo.plan(seed) for seed in (0, 1)}


@pytest.fixture(params=PLANS)
def made(request):
    return PLANS[request.param]


def happenings(videos):
    return [happening for video in videos for happening in video.happenings]


def shortened(video, frame_count):
    """The start of a video, for tests that render."""
    end_s = frame_count / 12
    kept = tuple(h for h in video.happenings if h.end_s <= end_s)
    extras = {name: tuple(e for e in getattr(video, name) if e.end_s <= end_s) for name in ("movers", "noises")}
    return replace(video, frame_count=frame_count, happenings=kept, **extras)


def a_video(condition, made=PLANS[0]):
    """A video with audio and at least one instance of this condition."""
    return next(v for v in made.videos if v.has_audio and any(h.condition == condition for h in v.happenings))


# the plan


def test_counts_durations_and_instances(made):
    train, test = made.of("train"), made.of("test")
    assert (len(train), len(test)) == (57, 24)
    assert sum(not video.labels for video in train) == 5
    assert all(video.labels for video in test)
    for video in made.videos:
        assert 20 <= video.duration_s <= 40
        spans = sorted((h.start_s, h.end_s) for h in video.happenings)
        assert len(spans) <= 3
        assert all(3 <= end - start <= 12 for start, end in spans)
        assert all(end + 1.4 < start for (_, end), (start, _) in pairwise(spans))
        if spans:
            assert spans[-1][1] <= video.duration_s
            assert 0.24 < sum(end - start for start, end in spans) / float(video.duration_s) < 0.51
    assert len({video.video_id for video in made.videos}) == len(made.videos)


def test_every_class_is_there_often_enough(made):
    for subset, least in (("train", 6), ("test", 4)):
        counts = Counter(label for video in made.of(subset) for label in video.labels)
        assert set(counts) == set(demo.CLASSES)
        assert min(counts.values()) >= least
        assert any(len(video.labels) == 2 for video in made.of(subset))


def test_conditions(made):
    for subset in ("train", "test"):
        heard = happenings(video for video in made.of(subset) if video.has_audio)
        share = {name: count / len(heard) for name, count in Counter(h.condition for h in heard).items()}
        assert set(share) == set(plans.CONDITIONS)
        assert 0.12 <= share["silent"] <= 0.24
        assert 0.12 <= share["hidden"] <= 0.24
        assert share["normal"] > 0.4
        mute = [video for video in made.of(subset) if not video.has_audio]
        assert len(mute) == 1
        assert {h.condition for h in mute[0].happenings} == {"silent"}


def test_boundaries_are_not_on_a_grid(made):
    times_s = np.array([t for h in happenings(made.videos) for t in (h.start_s, h.end_s)])
    assert (np.abs(times_s - np.round(times_s)) > 0.01).mean() > 0.9


def test_a_card_covers_each_hidden_instance_and_no_other(made):
    for video in made.videos:
        for happening in video.happenings:
            covering = [c for c in video.cards if c.start_s < happening.end_s and happening.start_s < c.end_s]
            assert len(covering) == (happening.condition == "hidden")
            assert all(c.start_s <= happening.start_s and happening.end_s <= c.end_s for c in covering)
    alone = [v for v in made.videos if len(v.cards) > sum(h.condition == "hidden" for h in v.happenings)]
    assert len(alone) >= 3, "cards elsewhere, so that cards do not indicate instances"


def test_some_kinds_are_only_in_test(made):
    def kinds(subset):
        for video in made.of(subset):
            yield from ((shot.kind for shot in video.shots), (m.kind for m in video.movers))
            yield from ((noise.kind for noise in video.noises), (video.bed.kind,))

    train, test = ({kind for some in kinds(subset) for kind in some} for subset in ("train", "test"))
    only_test = {*plans.TEST_SCENES, *plans.TEST_BEDS, *plans.TEST_MOVERS, *plans.TEST_NOISES}
    assert not train & only_test
    assert only_test <= test
    assert test & train


def test_idle_objects_and_context(made):
    videos = made.videos
    assert any(actor.always_there and actor.label in v.labels for v in videos for actor in v.actors)
    assert any(actor.label not in v.labels for v in videos for actor in v.actors)
    sizes = [actor.size_px for v in videos for actor in v.actors]
    assert np.mean(np.array(sizes) > plans.WIDTH / 8) == 1


def test_no_two_instances_share_a_seed(made):
    seeds = [h.seed for h in happenings(made.videos)]
    assert len(set(seeds)) == len(seeds)


def test_plan_follows_its_seed():
    assert demo.plan(0) == PLANS[0] != PLANS[1]


def test_small_plans_and_wrong_counts():
    assert [len(demo.plan(0, train=1, background=0, test=n).of("test")) for n in (0, 1, 2)] == [0, 1, 2]
    with pytest.raises(ValueError, match="counts cannot be negative"):
        demo.plan(0, train=-1)


# audio and frames


def test_a_silent_instance_is_not_heard_and_a_normal_one_is():
    for condition in ("silent", "normal", "hidden", "faint"):
        video = a_video(condition)
        happening = next(h for h in video.happenings if h.condition == condition)
        without = replace(video, happenings=tuple(h for h in video.happenings if h is not happening))
        difference = np.abs(sound_track(video) - sound_track(without))
        assert (difference.max() > 1e-3) == (condition != "silent")
        outside = np.ones(len(difference), bool)
        outside[round(happening.start_s * 16_000) : round(happening.end_s * 16_000) + 1] = False
        assert difference[outside].max() == 0


def test_levels_are_decibels_of_the_amplitude():
    video = replace(a_video("normal"), happenings=(), noises=(), frame_count=24)
    loud, soft = (sound_track(replace(video, bed=replace(video.bed, level_db=level))) for level in (0.0, -20.0))
    assert loud.std() / soft.std() == pytest.approx(10, rel=0.1)


@pytest.mark.parametrize("label", STRIKE_HZ)
def test_strikes_fill_the_instance_and_end_with_it(label):
    for seed in range(20):
        times_s = strike_times_s(plans.Happening(2.0, 6.0, label, "normal", 0.0, seed))
        assert (np.diff(times_s) > 0).all()
        assert 0 < times_s[0] < 0.5
        assert 2 < times_s[-1] < 3.95  # seconds from the start of the instance


def test_a_hidden_instance_is_not_seen_and_the_others_are():
    for condition in ("hidden", "normal", "silent", "faint"):
        video = a_video(condition)
        happening = next(h for h in video.happenings if h.condition == condition)
        gone = replace(video, actors=(), happenings=tuple(h for h in video.happenings if h is not happening))
        frames = range(int(happening.start_s * 12) + 1, int(happening.end_s * 12), 9)
        renderer, empty = FrameRenderer(video), FrameRenderer(gone)
        changed = [np.abs(renderer.frame(k).astype(int) - empty.frame(k)).max() > 12 for k in frames]
        assert (not any(changed)) if condition == "hidden" else all(changed)


def test_an_object_moves_in_its_instance_and_idles_outside():
    moving, still = [], []
    for label in demo.CLASSES:
        actor = plans.Actor(label, 96.0, 80.0, 70, True, 3)
        happening = plans.Happening(4.0, 8.0, label, "normal", 0.0, 5)
        base = PLANS[0].videos[0]
        video = replace(base, actors=(actor,), happenings=(happening,), cards=(), movers=(), frame_count=120)
        motion = FrameRenderer(video).actors[0].motion
        travel = np.abs(np.diff(np.stack([motion.pose, motion.x_px, motion.y_px]), axis=1)).sum(axis=0)
        moving.append((travel[49:94] > 0).mean())
        still.append(travel[:46].max() + travel[97:].max())
    assert min(moving) > 0.3
    assert max(still) == 0


@pytest.mark.parametrize("label", plans.CLASSES)
def test_action_sounds(label):
    one, same, other = (
        action_sound(plans.Happening(1.0, 5.3, label, "normal", 0.0, seed), 16_000) for seed in (1, 1, 2)
    )
    assert len(one) == round(4.3 * 16_000)
    assert np.isfinite(one).all()
    np.testing.assert_array_equal(one, same)
    assert np.abs(np.corrcoef(one, other)[0, 1]) < 0.3
    assert abs(one[-1]) < 0.05
    quarters = np.array([np.sqrt(np.mean(part**2)) for part in np.array_split(one, 4)])
    assert (quarters > 0.1).all(), "audible throughout the instance"


@pytest.mark.parametrize("kind", [*plans.NOISES, *plans.TEST_NOISES])
def test_distractor_sounds(kind):
    sound = distractor_sound(plans.Extra(kind, 0.0, 1.5, 0.0, 4), 22_050)
    assert len(sound) == round(1.5 * 22_050)
    assert np.isfinite(sound).all()
    assert sound.std() > 0.05


@pytest.mark.parametrize("kind", [*plans.BEDS, *plans.TEST_BEDS])
def test_beds_fill_a_track(kind):
    video = replace(PLANS[0].videos[0], happenings=(), noises=(), bed=plans.Bed(kind, 0.0, 6), frame_count=60)
    track = sound_track(video)
    assert track.shape == (80_000,)
    assert 0.01 < track.std() < 0.5
    assert np.abs(track).max() < 1


@pytest.mark.parametrize("kind", [*plans.SCENES, *plans.TEST_SCENES])
def test_scenes_are_textured_and_move(kind):
    moved = 0
    for seed in (1, 2):
        video = replace(
            PLANS[0].videos[0],
            shots=(plans.Shot(0.0, kind, seed),),
            actors=(),
            happenings=(),
            cards=(),
            movers=(),
            frame_count=60,
        )
        renderer = FrameRenderer(video)
        first, last = renderer.frame(0).astype(int), renderer.frame(59).astype(int)
        assert first.std() > 10
        moved = max(moved, np.abs(first - last).mean())
    assert moved > 5


@pytest.mark.parametrize("kind", [*plans.MOVERS, *plans.TEST_MOVERS])
def test_movers_are_seen_only_while_they_are_there(kind):
    base = replace(PLANS[0].videos[0], actors=(), happenings=(), cards=(), frame_count=120)
    renderer, empty = (
        FrameRenderer(replace(base, movers=movers)) for movers in ((plans.Extra(kind, 1.0, 8.0, 0.0, 9),), ())
    )
    seen = [np.abs(renderer.frame(k).astype(int) - empty.frame(k)).max() > 12 for k in range(0, 120, 4)]
    assert not any(seen[:3])
    assert not any(seen[24:])
    assert np.mean(seen[4:23]) > 0.5


# files


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """A small set, rendered by two processes."""
    calls = []
    found = demo.render(
        tmp_path_factory.mktemp("demo"),
        seed=3,
        workers=2,
        train=4,
        background=1,
        test=1,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(n, 6) for n in range(1, 7)]
    return found


def test_tables_agree_with_the_plan(rendered):
    made = demo.plan(3, train=4, background=1, test=1)
    rows = list(csv.DictReader(rendered.labels.read_text().splitlines()))
    assert rows == [{"video": v.video_id, "labels": ";".join(v.labels), "subset": v.subset} for v in made.videos]
    truth = json.loads(rendered.ground_truth.read_text())
    assert set(truth) == {"version", "taxonomy", "database"}
    details = json.loads(rendered.details.read_text())["videos"]
    for video in made.videos:
        entry = truth["database"][video.video_id]
        assert entry["subset"] == {"train": "training", "test": "validation"}[video.subset]
        assert [a["label"] for a in entry["annotations"]] == [h.label for h in video.happenings]
        assert [a["segment"] for a in entry["annotations"]] == [[h.start_s, h.end_s] for h in video.happenings]
        assert [h["condition"] for h in details[video.video_id]["happenings"]] == [
            h.condition for h in video.happenings
        ]


def test_files_are_what_the_ground_truth_says(rendered):
    database = json.loads(rendered.ground_truth.read_text())["database"]
    details = json.loads(rendered.details.read_text())["videos"]
    assert sorted(p.stem for p in rendered.videos.iterdir()) == sorted(database)
    for name, entry in database.items():
        with av.open(str(rendered.videos / f"{name}.mp4")) as container:
            video = container.streams.video[0]
            assert video.codec_context.name == "h264"
            assert float(video.duration * video.time_base) == pytest.approx(entry["duration"], abs=1e-3)
            assert (video.width, video.height, video.average_rate) == (192, 144, 12)
            assert len(container.streams.audio) == details[name]["has_audio"]
            for sound in container.streams.audio:
                assert sound.codec_context.name == "aac"
                assert float(sound.duration * sound.time_base) == pytest.approx(entry["duration"], abs=2e-3)


def test_a_second_time_nothing_is_done_and_a_lost_file_is_made_again(rendered):
    files = {p: p.stat().st_mtime_ns for p in rendered.videos.iterdir()}
    lost = rendered.videos / "train_002.mp4"
    content = lost.read_bytes()
    lost.unlink()
    calls = []
    demo.render(rendered.videos.parent, 3, 1, train=4, background=1, test=1, progress=lambda *done: calls.append(done))
    assert calls == [(6, 6)]
    assert lost.read_bytes() == content, "the same file with one worker or two"
    assert all(p.stat().st_mtime_ns == time for p, time in files.items() if p != lost)


def test_other_videos_in_the_folder_are_an_error(tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "holiday.mp4").write_bytes(b"")
    with pytest.raises(InputError, match=r"found 1 other file \(such as holiday\.mp4\); choose an empty folder"):
        demo.render(tmp_path, workers=1, train=0, background=0, test=1)


def test_arguments_that_cannot_work(tmp_path):
    with pytest.raises(InputError, match="workers >= 1"):
        demo.render(tmp_path, workers=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write the demo there"):
        demo.render(tmp_path / "file", workers=1)


def test_same_plan_same_pixels_and_samples():
    video = shortened(PLANS[0].videos[0], 24)
    one, two = FrameRenderer(video), FrameRenderer(video)
    for index in (0, 7, 23):
        np.testing.assert_array_equal(one.frame(index), two.frame(index))
    np.testing.assert_array_equal(sound_track(video), sound_track(video))
    other = shortened(PLANS[1].videos[0], 24)
    assert np.abs(FrameRenderer(other).frame(0).astype(int) - one.frame(0)).mean() > 5
