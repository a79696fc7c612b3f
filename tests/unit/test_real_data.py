"""Real data sets: each is read whole, or refused with advice that works; trainers read exports."""

from pathlib import Path

import pytest

from treadle.data.formats.read import Loaded, read
from treadle.data.formats.write import write, write_llama_factory
from treadle.data.row import column
from treadle.errors import DataError

pytestmark = pytest.mark.slow

# folder, pattern, layout, records, merged into equal rows, malformed
SETS = [
    ("alpaca_pool", "pool.part*.jsonl", "alpaca", 9229, 0, 0),
    ("dolly_3k", "dolly_3k.json", "alpaca", 2996, 2, 0),
    ("gsm8k_train", "train.jsonl", "prompt_completion", 7473, 0, 0),
    ("medquad_pool", "*.jsonl", "prompt_completion", 6090, 48, 0),
    ("gpteacher_code", "codegen-instruct.json", "alpaca", 4535, 0, 0),
    ("hh_harmless_test", "rows.jsonl", "preference", 2312, 0, 5),
    ("t0_tasks", "rows.part*.jsonl", "prompt_completion", 9600, 9, 0),
]


@pytest.mark.parametrize(("name", "pattern", "layout", "records", "merged", "bad"), SETS)
def test_a_real_set_is_read_and_every_record_is_accounted_for(
    shared_data: Path, name: str, pattern: str, layout: str, records: int, merged: int, bad: int
) -> None:
    loaded = read(str(shared_data / name / pattern))
    assert (loaded.layout, loaded.read, loaded.merged) == (layout, records, merged)
    assert len(loaded.quarantine) == bad
    assert len(loaded.pool) == records - merged - bad
    assert sum(len(row.origins) for row in loaded.pool.rows()) == records - bad


def test_pubmedqa_is_refused_with_a_mapping_that_then_reads_it(shared_data: Path) -> None:
    path = shared_data / "pubmedqa" / "rows.jsonl"
    with pytest.raises(DataError) as caught:
        read(path)
    assert '{"prompt": "question", "completion": "long_answer"}' in str(caught.value)
    loaded = read(path, columns={"prompt": "question", "completion": "long_answer"})
    assert (loaded.read, len(loaded.pool), loaded.quarantine) == (1000, 1000, ())
    labels = column(loaded.pool.frame, "label")
    assert labels is not None
    assert set(labels) == {"yes", "no", "maybe"}


def test_gsm8k_named_as_verifiable_keeps_prompts_and_answers_apart(shared_data: Path) -> None:
    loaded = read(shared_data / "gsm8k_train" / "train.jsonl", layout="prompt_answer")
    rows = loaded.pool.rows()
    assert {row.kind for row in rows} == {"answer"}
    assert all("####" in (row.answer or "") and len(row.messages) == 1 for row in rows)


def test_transcripts_of_preferences_become_turns(shared_data: Path) -> None:
    loaded = read(shared_data / "hh_harmless_test" / "rows.jsonl")
    assert {q.reason for q in loaded.quarantine} == {"branches_part_early"}
    for row in loaded.pool.rows():
        assert row.messages[0].role == "user"
        assert not any("\n\nHuman:" in text for text in (row.chosen or "", row.rejected or ""))


def subset(loaded: Loaded, count: int) -> Loaded:
    pool = loaded.pool.keep(loaded.pool.ids[:count])
    return Loaded(pool, (), count, 0, loaded.layout)


@pytest.mark.parametrize("kind", [".jsonl", ".json", ".parquet", ""])
def test_trl_takes_exports_for_conversations(shared_data: Path, tmp_path: Path, kind: str) -> None:
    datasets = pytest.importorskip("datasets")
    data_utils = pytest.importorskip("trl.data_utils")
    chats = subset(read(shared_data / "medquad_pool" / "qa.part0.jsonl"), 300).pool
    pairs = subset(read(shared_data / "hh_harmless_test" / "rows.jsonl"), 300).pool
    wanted = {
        "openai": (chats, {"messages"}),
        "prompt_completion": (chats, {"prompt", "completion"}),
        "preference": (pairs, {"prompt", "chosen", "rejected"}),
    }
    for layout, (pool, columns) in wanted.items():
        path = tmp_path / f"{layout}{kind}"
        write(pool, path, layout=layout)
        if kind:
            name = "parquet" if kind == ".parquet" else "json"
            cache = str(tmp_path / "cache")
            found = datasets.load_dataset(
                name, data_files=str(path), split="train", cache_dir=cache
            )
        else:
            found = datasets.load_from_disk(str(path))
        assert len(found) == len(pool)
        assert set(found["treadle_id"]) == set(pool.ids)
        assert columns <= set(found.column_names)
        rows = {row.id: row for row in pool.rows()}
        for example in found:
            assert data_utils.is_conversational(example)
            assert data_utils.maybe_extract_prompt(dict(example)) == example
            assert_says_the_same(example, rows[example["treadle_id"]], layout)


def assert_says_the_same(
    example: dict[str, list[dict[str, str]]], row: object, layout: str
) -> None:
    turns = [(m.role, m.content) for m in row.conversation]  # type: ignore[attr-defined]
    names = {"openai": ["messages"], "preference": ["prompt", "chosen"]}
    parts = names.get(layout, ["prompt", "completion"])
    assert [(t["role"], t["content"]) for part in parts for t in example[part]] == turns


def test_trl_trains_on_the_completion_alone(shared_data: Path, tmp_path: Path) -> None:
    """The trainer's own tokenisation puts loss on the last turn, and on nothing else."""
    datasets = pytest.importorskip("datasets")
    trl = pytest.importorskip("trl")
    pool = subset(read(shared_data / "gsm8k_train" / "train.jsonl"), 4).pool
    write(pool, tmp_path / "out.jsonl", layout="prompt_completion")
    found = datasets.load_dataset(
        "json", data_files=str(tmp_path / "out.jsonl"), split="train", cache_dir=str(tmp_path)
    )
    tokenizer, model = tiny_student()
    config = trl.SFTConfig(
        output_dir=str(tmp_path / "run"), report_to=[], use_cpu=True, max_length=None
    )
    trainer = trl.SFTTrainer(model, config, train_dataset=found, processing_class=tokenizer)
    rows = {row.id: row for row in pool.rows()}
    for i, example in enumerate(trainer.train_dataset):
        trained = [label for label in example["labels"] if label != -100]
        reply = rows[found[i]["treadle_id"]].reply
        assert tokenizer.decode(trained) == f"{reply}<|end|>\n"


def tiny_student() -> tuple[object, object]:
    """A byte tokenizer and a model of a few hundred weights, made here: nothing is fetched."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {mark: i for i, mark in enumerate(["<|end|>", *alphabet])}
    raw = Tokenizer(models.BPE(vocabulary, []))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<|end|>", pad_token="<|end|>"
    )
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
    )
    return tokenizer, LlamaForCausalLM(config)


def test_llama_factory_takes_a_real_preference_set(shared_data: Path, tmp_path: Path) -> None:
    pool = read(shared_data / "hh_harmless_test" / "rows.jsonl").pool
    export = write_llama_factory(pool, tmp_path, "harmless")
    assert export.rows + len(export.left_out) == len(pool)
    assert set(export.left_out.values()) == {"turns_do_not_alternate"}
    assert read(export.file).pool.ids == sorted(set(pool.ids) - set(export.left_out))
