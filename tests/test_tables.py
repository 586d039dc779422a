"""The paper's tables and figures: published cells, recipes, stored cells, frozen stages, written files."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from avloc.cli.app import app
from avloc.config import preset
from avloc.errors import ConfigError, InputError
from avloc.formats.annotations import read_annotations, write_annotations
from avloc.formats.features import load_features, save_features
from avloc.metrics import rasterise
from avloc.model.checkpoint import ModelCard, load_model
from avloc.paper.cells import Cell, open_data
from avloc.paper.drawing import Panel, comparison_figure
from avloc.paper.figures import coverage, draw_figures
from avloc.paper.multiply_adds import multiply_adds, paper_card
from avloc.paper.plan import Tables, TablesPlan, plan_tables
from avloc.paper.published import AVERAGE, PAPER, number
from avloc.paper.rows import ROWS, rows_of
from avloc.paper.runner import cell_of, compute_all, needed
from avloc.paper.show import Filled, fill, lines_of, title_of
from avloc.presets import PRESETS, RECIPES, recipe_on
from avloc.train.loop import fit
from avloc.types import ActivationSequence, Detection, Instance, SnippetGrid, VideoAnnotation
from benchmarks.console import run_command
from benchmarks.quality import recipe
from benchmarks.quality.__main__ import MODULES
from feature_sets import make_videos, write_set, write_split_set

SMALL = {"model.embed_dim": 16, "train.steps": 6, "train.eval_every": 6, "train.batch_size": 6}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("set")
    write_split_set(home, count=24, tests=6)
    return home


def test_every_row_has_a_cell_in_every_column_and_every_recipe_a_row() -> None:
    for name, table in PAPER.items():
        assert name == f"table{table.number}"
        assert all(len(cells) == len(table.columns) for cells in table.rows.values())
        assert set(ROWS[name]) <= set(table.rows)


def test_cells_agree_where_the_paper_repeats_them() -> None:
    """Cells printed twice are equal, except the 3-stage accuracy (75.6 and 74.6)."""
    one, nine, ten, two = (PAPER[f"table{k}"].rows for k in (1, 9, 10, 2))
    for t in range(3):
        assert one[f"{t}-stage"] == nine[f"{t}-stage, O-III"]
    assert (one["3-stage"][0], nine["3-stage, O-III"][0]) == ("75.6", "74.6")
    assert one["3-stage"][1:] == nine["3-stage, O-III"][1:]
    for name, cells in two.items():
        assert cells == ten[name]
    for name in ("O-I", "O-II", "O-III"):
        assert two[name] == nine[f"2-stage, {name}"]
    assert PAPER["table6"].rows["Ours"][-1] == PAPER["table3"].rows["w/ dense skip connections"][0] == "26.0"
    assert number("-") is None
    assert number("2?.9") is None
    assert number("19.?") is None
    assert number("62.1?") == 62.1


def test_averages_follow_from_their_cells_but_for_one() -> None:
    table = PAPER["table6"]
    off = {}
    for row, cells in table.rows.items():
        values = [number(c) for c in cells]
        if None not in values:
            mean = sum(v for v in values[:-1] if v is not None) / 10
            if abs(mean - float(cells[-1])) > 0.051:
                off[row] = round(mean, 2)
    assert off == {"Paul et al. (2018)": 17.86}  # printed 18.0
    for name in ("table1", "table2", "table9"):
        for cells in PAPER[name].rows.values():
            five, six, seven, eight, average = map(float, cells[1:])
            # mAP falls as t-IoU rises, so the four bound the thresholds between and beyond them
            assert (five + 2 * (six + seven + eight)) / 10 - 0.05 <= average
            assert average <= (2 * (five + six + seven) + 4 * eight) / 10 + 0.05


def simulate(annotations: Path, out: Path, **options: float) -> None:
    command = ["simulated", "activitynet", str(annotations), "-o", str(out), "--audio-size", "8", "--visual-size", "12"]
    command += [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    run_command("benchmarks.quality", MODULES, command)


def test_simulated_sets_keep_the_real_structure(tmp_path: Path) -> None:
    real = [
        VideoAnnotation(f"v{i}", 40.0, "validation" if i > 8 else "training", (Instance(8.0, 24.0, "ab"[i % 2]),))
        for i in range(12)
    ]
    write_annotations(tmp_path / "real.json", real)
    plain = {"modes": 1, "context": 0, "heard": 1, "noise": 0.01, "seed": 3}
    simulate(tmp_path / "real.json", tmp_path / "set", **plain)
    made, _ = read_annotations(tmp_path / "set" / "ground_truth.json")
    assert [v.instances for v in made] == [v.instances for v in real]
    data = open_data(f"activitynet={tmp_path / 'set'}")
    assert [a.video_id for a in data.tests()] == ["v9", "v10", "v11"]
    first, second = (load_features(data.features / f"{name}.safetensors") for name in ("v0", "v2"))
    assert first.grid.count == 63  # 40 s of 0.64 s
    inside = first.grid.indices(8.0, 24.0)
    assert first.audio is not None
    assert second.audio is not None
    loud = np.linalg.norm(first.audio, axis=1) > 1
    assert loud.nonzero()[0].tolist() == inside.tolist()
    np.testing.assert_allclose(first.audio[inside].mean(axis=0), second.audio[inside].mean(axis=0), atol=0.05)
    assert "SIMULATED" in (tmp_path / "set" / "simulated.json").read_text()


def test_a_simulated_set_can_be_coarser_and_have_fewer_test_videos(tmp_path: Path) -> None:
    subsets = ["training"] * 4 + ["validation"] * 8 + ["testing"]  # ActivityNet's own test has no annotations
    instances = (Instance(8.0, 24.0, "a"),)
    real = [VideoAnnotation(f"v{k:02}", 40.0, s, instances if s != "testing" else ()) for k, s in enumerate(subsets)]
    write_annotations(tmp_path / "real.json", real)

    def made(out: str, tested: float) -> set[str]:
        simulate(tmp_path / "real.json", tmp_path / out, step_s=2, tested=tested)
        return {path.stem for path in (tmp_path / out / "features").iterdir()}

    everything, half = made("all", 1.0), made("half", 0.5)
    assert everything == {f"v{k:02}" for k in range(12)}
    assert half < everything
    assert {"v00", "v01", "v02", "v03"} < half
    assert len(half) == 8
    assert half == made("again", 0.5)
    assert {a.video_id for a in open_data(f"activitynet={tmp_path / 'half'}").tests()} == half & {
        f"v{k:02}" for k in range(4, 12)
    }
    assert load_features(tmp_path / "half" / "features" / "v00.safetensors").grid.count == 20


def _snippets(features: Path, truth: VideoAnnotation) -> np.ndarray:
    grid = load_features(features / f"{truth.video_id}.safetensors").grid
    return rasterise(truth, grid, tuple(sorted({i.label for i in truth.instances})))


def test_recipe_choices_share_the_tables_runs_and_are_measured(folder: Path, tmp_path: Path) -> None:
    data = open_data(f"activitynet={folder}")
    sets = [f"{key}={value}" for key, value in SMALL.items()] + ["train.learning_rate=0.02"]
    plan = recipe.plan_of(["choices", "table2"], data, 1, sets, tmp_path)
    assert plan["choices"]["as it is"][0].key == plan["table2"]["O-III"][0].key
    assert len({cells[0].key for cells in plan["choices"].values()}) == len(recipe.CHOICES)
    cell = plan["choices"]["background: never"][0]  # classes are confused then
    assert not compute_all([cell])
    found = recipe.measured(cell)
    true = [_snippets(data.features, truth) for truth in data.tests()]
    share = (np.concatenate(true) > 0).mean()
    recalled = (1 - share) * found["background recall"] + share * found["foreground recall"]
    assert found["background recall"] < 0.5
    assert found["accuracy"] == pytest.approx(recalled)  # both recalls are of the same snippets as accuracy
    assert all(0 <= found[key] <= 1 for key in set(recipe.SHOWN) - {"gap"})
    assert 0 < found["gap"] < 2
    lines = recipe.markdown(plan["choices"]).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["background: never"]  # the others are not finished


def test_rows_that_are_one_model_share_its_run(folder: Path, tmp_path: Path) -> None:
    data = open_data(f"demo={folder}")

    def key(table: str, row: str, seed: int = 0) -> str:
        return cell_of(ROWS[table][row], data, seed, SMALL, tmp_path).key

    same = [("table1", "2-stage"), ("table2", "O-III"), ("table3", "w/ dense skip connections"), ("table6", "Ours")]
    same += [("table9", "2-stage, O-III"), ("table8", "2-stage, 1024 x 1024"), ("table7", "w/ dense skip, 2-stage")]
    assert len({key(*where) for where in same}) == 1
    assert key("table8", "1-stage, 1024 x 1024") == key("table1", "1-stage")
    assert key("table1", "2-stage", seed=1) != key("table1", "2-stage")
    for name, rows in ROWS.items():
        assert len({key(name, row) for row in rows}) == len(rows), f"{name}: two rows train the same"


def test_sizes_are_shares_of_the_base() -> None:
    config = ROWS["table8"]["1-stage, 128 x 2048"].config(PRESETS["paper"], {}, 0)
    assert (config.model.audio_embed_dim, config.model.visual_embed_dim) == (128, 2048)
    small = ROWS["table8"]["1-stage, 128 x 2048"].config(PRESETS["paper"], {"model.embed_dim": 128}, 0)
    assert (small.model.audio_embed_dim, small.model.visual_embed_dim) == (16, 256)
    assert ROWS["table4"]["2-stage, 512"].config(PRESETS["paper"], {}, 0).model.embed_dim == 512


def counted(row: str, snippets: int = 1) -> float:
    return multiply_adds(paper_card(ROWS["table4"][row].config(PRESETS["paper"], {}, 0)), snippets) / 1e6


@pytest.mark.parametrize("name", ["ave", "activitynet", "thumos14", "llp", "unav100", "demo"])
def test_the_papers_recipe_differs_from_the_paper_preset_in_schedule_and_size_only(name: str) -> None:
    """Every other setting of the `paper` preset holds in the paper's rows, whatever the data's preset has."""
    paper, row = preset("paper").model_dump(), ROWS["table1"]["2-stage"].config(recipe_on("paper", name), {}, 0)
    changed = {
        f"{part}.{key}"
        for part, fields in row.model_dump().items()
        for key, value in fields.items()
        if value != paper[part][key]
    }
    allowed = {"model.embed_dim", *(f"train.{k}" for k in ("snippets", "steps", "eval_every", "learning_rate"))}
    assert {key for key in changed if not key.startswith("extract.")} <= allowed | {"localize.decode"}
    assert row.localize.decode == ("events" if name == "ave" else "actions")
    assert ROWS["table1"]["2-stage"].config(recipe_on("default", name), {}, 0) == preset(name, {"model.num_stages": 2})


def test_a_table_is_of_one_named_recipe(folder: Path, tmp_path: Path) -> None:
    sets = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    command = ["tables", "table3", "--data", f"demo={folder}", "-o", str(tmp_path), "--dry-run", *sets]
    result = CliRunner().invoke(app, [*command, "--recipe", "default"])
    assert "recipe default" in result.output
    with pytest.raises(InputError, match="paper or default, got 'defualt'"):
        plan_tables(["table3"], [f"demo={folder}"], tmp_path, recipe="defualt")
    data = open_data(f"demo={folder}")
    cells = [cell_of(ROWS["table3"]["w/ skip connection"], data, 0, SMALL, tmp_path, name) for name in RECIPES]
    assert [cell.config.model.direct for cell in cells] == [False, True]
    assert "recipe default" in title_of(
        Filled("table3", PAPER["table3"], "demo", "default", (AVERAGE,), {("a", AVERAGE): (0.5,)}, {})
    )


def test_cells_of_other_code_are_computed_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = cell_of(ROWS["table3"]["w/ skip connection"], open_data(f"demo={folder}"), 0, SMALL, tmp_path)
    before = cell.key
    monkeypatch.setattr("avloc.paper.cells.code_version", lambda: "another")
    assert cell.key != before


def test_tian_gets_the_grid_where_there_is_one(folder: Path, tmp_path: Path) -> None:
    """Grid features beside the pooled ones are for Tian et al.'s attention; the other rows keep the pooled ones."""
    home = tmp_path / "set"
    shutil.copytree(folder, home)
    for path in (home / "features").glob("*.safetensors"):
        pooled = load_features(path)
        assert pooled.visual is not None
        save_features(home / "features_grid" / path.name, replace(pooled, visual=np.tile(pooled.visual, (1, 4))))
    data = open_data(f"demo={home}")
    tian, ours = (
        cell_of(ROWS["table5"][name], data, 0, SMALL, tmp_path) for name in ("Tian et al. (2018)", "Proposed")
    )
    assert (tian.config.model.grid_cells, ours.config.model.grid_cells) == (4, 1)
    assert not compute_all([tian, ours])
    sizes = [load_model(cell.run)[1].visual_size for cell in (tian, ours)]
    assert sizes[0] == 4 * sizes[1]


def test_multiply_adds_of_table_4() -> None:
    assert round(counted("1-stage, 1024"), 1) == 3.5
    assert round(counted("2-stage, 512"), 1) == 1.7
    # the one cell that differs: a second W of 1024² gives 4.5, half of one 4.0
    assert round(counted("2-stage, 1024"), 1) == 4.5
    assert round(counted("1-stage, 1024") + 1024**2 / 2e6, 1) == 4.0
    # Λ and X̃ grow with the video: 3 d_x per stage and snippet
    assert counted("2-stage, 1024", 200) - counted("2-stage, 1024") == pytest.approx(2 * 3 * 1024 * 199 / 1e6)


@pytest.mark.parametrize("size", [1024, 512])
def test_visual_only_cells_follow_with_a_classifier_twice_as_wide(size: int) -> None:
    row = f"visual-only, {size}"
    printed = float(PAPER["table4"].rows[row][0]) / 1e6
    assert round(counted(row), 1) == round(printed - 0.1, 1)
    layers = nn.ModuleList([nn.Linear(2048, size), nn.Linear(2 * size, 101)])
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        for layer in layers:
            layer(torch.zeros(1, layer.in_features))
    assert round(counter.get_total_flops() / 2e6, 1) == printed


def test_a_finished_cell_is_never_computed_again(folder: Path, tmp_path: Path) -> None:
    data = open_data(str(folder))
    cells = [cell_of(ROWS["table1"]["visual"], data, seed, SMALL, tmp_path) for seed in (0, 1)]
    assert compute_all(cells) == {}
    before = [(cell.path.stat().st_mtime_ns, cell.path.read_text()) for cell in cells]
    facts = json.loads(before[0][1])
    inside = sum(i.end_s - i.start_s for a in data.tests() for i in a.instances)  # whole seconds, steps of one
    assert facts["scores"]["trivial accuracy"] == pytest.approx(inside / sum(a.duration_s for a in data.tests()))
    assert {"accuracy", "average mAP", "mAP@0.5", "event F1", "trivial average mAP"} <= set(facts["scores"])
    assert needed(cells) == [] or all(not wave for wave in needed(cells))
    assert compute_all(cells) == {}
    assert [(cell.path.stat().st_mtime_ns, cell.path.read_text()) for cell in cells] == before
    assert not (cells[0].run / "state.pt").exists()


def test_data_are_known_by_what_is_in_them(tmp_path: Path) -> None:
    write_split_set(tmp_path, count=6, tests=2)
    first = open_data(f"demo={tmp_path}").fingerprint
    assert open_data(f"ave={tmp_path}").fingerprint == first
    one = tmp_path / "features" / "video_001.safetensors"
    video = load_features(one)
    assert video.audio is not None
    audio = video.audio.copy()
    audio[-1, -1] += 1  # as long as before
    save_features(one, replace(video, audio=audio))
    second = open_data(f"demo={tmp_path}").fingerprint
    (tmp_path / "features" / "video_000.safetensors").unlink()
    third = open_data(f"demo={tmp_path}").fingerprint
    last = tmp_path / "features" / "video_005.safetensors"
    last.rename(last.with_name("video_009.safetensors"))  # remains the last
    assert len({first, second, third, open_data(f"demo={tmp_path}").fingerprint}) == 4


def test_an_interrupted_run_goes_on(folder: Path, tmp_path: Path) -> None:
    data = open_data(str(folder))
    more = {**SMALL, "train.eval_every": 2}
    whole, halves = (cell_of(ROWS["table1"]["1-stage"], data, 0, more, tmp_path / name) for name in "ab")

    def killer(step: int, steps: int, text: str) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(data.features, data.labels, halves.run, halves.config, progress=killer)
    assert compute_all([whole]) == compute_all([halves]) == {}
    a, b = (json.loads(cell.path.read_text()) for cell in (whole, halves))
    assert (a["resumed"], b["resumed"]) == (False, True)
    assert a["scores"] == b["scores"]


def test_frozen_stages_stay_as_they_were(folder: Path, tmp_path: Path) -> None:
    """Table 7: the third stage and the classifier are trained on two frozen stages."""
    data = open_data(str(folder))
    cell = cell_of(ROWS["table7"]["w/ dense skip, 3-stage, 2 frozen"], data, 0, SMALL, tmp_path)
    assert isinstance(cell.parent, Cell)
    assert [len(wave) for wave in needed([cell])] == [1, 1]
    assert compute_all([cell]) == {}
    given, taken = load_model(cell.parent.run)[0].state_dict(), load_model(cell.run)[0].state_dict()
    for name in given:
        frozen = name.startswith(("norms", "embeds", "fusion.weights"))
        assert torch.equal(given[name], taken[name]) == frozen, name
    fresh = load_model(cell.run)[1].build().state_dict()
    assert not torch.equal(taken["fusion.weights.2"], fresh["fusion.weights.2"])


def test_frozen_stages_that_do_not_fit_are_said(folder: Path, tmp_path: Path) -> None:
    data = open_data(str(folder))
    fit(data.features, data.labels, tmp_path / "two", preset("default", {**SMALL, "model.num_stages": 2}))
    more = {**SMALL, "model.num_stages": 3, "train.init_from": str(tmp_path / "two")}
    for wrong, said in (
        ({"train.frozen_stages": 3}, "expected 3 stages"),
        ({"train.frozen_stages": 2, "model.skip": "plain"}, r"model\.skip is 'plain', there 'dense'"),
        ({"train.frozen_stages": 2, "model.method": "tian"}, r"model\.method=avloc"),
        ({"train.frozen_stages": 2, "model.share_weight": True}, r"model\.share_weight leaves nothing"),
    ):
        with pytest.raises(ConfigError, match=said):
            fit(data.features, data.labels, tmp_path / "three", preset("default", {**more, **wrong}))
    with pytest.raises(ConfigError, match="go together"):
        preset("default", {"train.frozen_stages": 2})
    gone = preset("default", {**more, "train.frozen_stages": 2, "train.init_from": str(tmp_path / "nowhere")})
    with pytest.raises(InputError, match="run folder"):
        fit(data.features, data.labels, tmp_path / "three", gone)


def test_a_run_that_fails_costs_its_cells_only(tmp_path: Path) -> None:
    videos = make_videos(count=12)
    blind = [(type(f)(**{**vars(f), "visual": None}), truth) for f, truth in videos]
    features, labels = write_set(tmp_path, blind)
    assert features.is_dir()
    text = labels.read_text(encoding="utf-8").splitlines()
    subsets = ["subset", *(["train"] * 9), *(["test"] * 3)]
    labels.write_text("".join(f"{a},{b}\n" for a, b in zip(text, subsets, strict=True)), encoding="utf-8")
    write_annotations(tmp_path / "ground_truth.json", [truth for _, truth in videos])
    data = open_data(str(tmp_path))
    cells = {row: cell_of(ROWS["table1"][row], data, 0, SMALL, tmp_path / "out") for row in ("audio", "visual")}
    failed = compute_all(list(cells.values()))
    assert set(failed) == {cells["visual"].key}
    assert cells["audio"].path.exists()


def test_seeds_are_shown_as_mean_and_sample_standard_deviation() -> None:
    ours = {("w/o skip connection", AVERAGE): (0.2, 0.3), ("w/ skip connection", AVERAGE): (0.25,)}
    filled = Filled("table3", PAPER["table3"], "demo", "paper", (AVERAGE,), ours, {AVERAGE: 0.1})
    assert lines_of(filled, [AVERAGE]) == [
        ["w/o skip connection", "24.1"],
        ["  ours", "25.0 ± 7.1"],
        ["w/ skip connection", "24.9"],
        ["  ours", "25.0"],
        ["w/ dense skip connections", "26.0"],
        ["whole video, true class", "10.0"],
    ]


def test_the_command_writes_ours_beside_the_papers(folder: Path, tmp_path: Path) -> None:
    sets = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    command = ["tables", "table4", "--data", f"demo={folder}", "--seeds", "2", "-o", str(tmp_path), *sets]
    first = CliRunner().invoke(app, command)
    assert first.exit_code == 0, first.output
    assert "10 runs in 1 table, 10 to compute" in first.output
    rows = list(csv.DictReader((tmp_path / "tables.csv").read_text(encoding="utf-8").splitlines()))
    cell = next(r for r in rows if r["row"] == "2-stage, 1024" and r["column"] == "average mAP")
    assert (cell["table"], cell["page"], cell["paper"], cell["data"], cell["seeds"]) == ("4", "8", "26.0", "demo", "2")
    values = [float(v) for v in cell["values"].split()]
    assert float(cell["mean"]) == pytest.approx(sum(values) / 2, abs=1e-6)
    flops = next(r for r in rows if r["row"] == "2-stage, 1024" and r["column"] == "multiply-adds")
    trained = cell_of(ROWS["table4"]["2-stage, 1024"], open_data(f"demo={folder}"), 0, SMALL, tmp_path)
    assert flops["paper"] == "4.0e6"
    assert float(flops["mean"]) == multiply_adds(load_model(trained.run)[1]) < 1e6, (
        "the trained network, not one of the paper's size"
    )
    assert {row["recipe"] for row in rows} == {"paper"}
    page = (tmp_path / "tables.md").read_text(encoding="utf-8")
    assert "| 2-stage, 1024 | 4.0e6 | 26.0 |" in page
    assert "±" in page
    again = CliRunner().invoke(app, command)
    assert "10 runs in 1 table, 0 to compute" in again.output


def test_failed_runs_are_not_counted_as_computed(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_two(made: TablesPlan, out: Path, *_: object) -> Tables:
        return Tables(made.fill(), (out / "tables.csv", out / "tables.md"), {"one": "no memory", "two": "no memory"})

    monkeypatch.setattr("avloc.paper.plan.make_tables", fail_two)
    command = ["tables", "table4", "--data", f"demo={folder}", "-o", str(tmp_path), "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 3
    facts = json.loads(done.stdout)
    assert (facts["runs"], facts["computed"], sorted(facts["failed"])) == (5, 3, ["one", "two"])


def test_without_data_one_line_says_what_to_put_where(folder: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["tables", "table4", "-o", str(tmp_path)])
    assert done.exit_code == 0
    assert "4.54e6" in done.output
    said = [line for line in done.output.splitlines() if line.startswith("no data set")]
    assert len(said) == 1
    assert all(word in said[0] for word in ("--data ave=FOLDER", "features/", "labels.csv", "ground_truth.json"))
    (tmp_path / "half").mkdir()
    with pytest.raises(InputError, match=r"features and labels\.csv and ground_truth\.json missing"):
        open_data(str(tmp_path / "half"))
    with pytest.raises(InputError, match="Did you mean 'table1'"):
        rows_of(["tabel1"])
    with pytest.raises(InputError, match="there is no preset 'av'"):
        open_data(f"av={folder}")


def test_several_processes_give_the_same_cells(folder: Path, tmp_path: Path) -> None:
    data = open_data(str(folder))
    rows = ("audio", "2-stage")
    one, two = ([cell_of(ROWS["table1"][r], data, 0, SMALL, tmp_path / n) for r in rows] for n in "ab")
    assert compute_all(one) == {}
    assert compute_all(two, workers=2) == {}
    for a, b in zip(one, two, strict=True):
        assert json.loads(a.path.read_text())["scores"] == json.loads(b.path.read_text())["scores"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_a_ray_cluster_gives_the_same_cells(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.chdir(tmp_path)
    data = open_data(str(folder))
    here, there = (cell_of(ROWS["table3"]["w/ skip connection"], data, 0, SMALL, Path(name)) for name in "ab")
    assert compute_all([here]) == compute_all([there], workers=2, ray="local") == {}
    assert json.loads(here.path.read_text())["scores"] == json.loads(there.path.read_text())["scores"]


def test_figures_2_to_5(folder: Path, tmp_path: Path) -> None:
    sets = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    command = ["figures", "--data", f"demo={folder}", "-o", str(tmp_path), "-f", "svg", *sets]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    drawn = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert "figure2" in drawn
    assert "figure3" in drawn or "note: figure3: no video to draw" in done.output
    text = (tmp_path / "figures" / "figure2.svg").read_text(encoding="utf-8")
    assert all(word in text for word in ("(a) ground truth", "(b) without the consistency losses", "(c) with them"))
    data = open_data(f"demo={folder}")
    assert cell_of(ROWS["table1"]["visual"], data, 0, SMALL, tmp_path).path.exists()  # runs are the tables' own
    with pytest.raises(InputError, match="there is no 'figure6'"):
        draw_figures(["figure6"], data, tmp_path, SMALL)


def test_figures_show_one_class_and_nothing_else() -> None:
    classes, label = ("saw", "drum"), "drum"
    grid = SnippetGrid.cover(4, 1)
    probs = np.array([[0.5, 0.1, 0.4], [0.2, 0.1, 0.7], [0.1, 0.1, 0.8], [0.9, 0.05, 0.05]])
    activations = ActivationSequence("v", 4.0, grid, classes, probs, np.array([0.1, 0.8]))
    found = (Detection(1.0, 4.0, label, 0.9), Detection(0.0, 1.0, "saw", 0.9))
    truth = (Instance(1.0, 3.0, label), Instance(0.0, 1.0, "saw"))
    panel = Panel(label, truth, {"m": activations}, {"m": found})
    assert coverage(panel) == pytest.approx(2 / 3)  # snippets 1, 2 of 1, 2, 3
    figure = comparison_figure([panel, panel])
    rows = [axes for sub in figure.subfigs for axes in sub.axes]
    assert len(rows) == 6
    spans = [[path.get_extents().x0 for path in axes.collections[0].get_paths()] for axes in rows[:2]]
    assert spans == [[1.0], [1.0]]
    np.testing.assert_allclose(rows[2].collections[0].get_array().ravel(), probs[:, 2])
    with pytest.raises(InputError, match="no video to draw"):
        comparison_figure([])


def test_old_checkpoints_still_load() -> None:
    """Configurations from before the other methods have no model.method; they are the paper's model."""
    from avloc.config import RunConfig

    saved = preset("default").model_dump()
    del saved["model"]["method"], saved["model"]["grid_cells"]
    del saved["train"]["init_from"], saved["train"]["frozen_stages"]
    config = RunConfig.model_validate_json(json.dumps(saved))
    assert type(ModelCard(config, ("a",), 3, 4, {}).build()).__name__ == "AudioVisualLocalizer"


def test_a_table_without_data_says_that_its_numbers_are_the_papers() -> None:
    assert title_of(fill("table1", None, {})).endswith(": the paper's numbers; no runs of ours")
