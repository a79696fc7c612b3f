"""SFT: our trainer does what TRL's does, on the right tokens, and touches nothing else."""

import copy
import hashlib
import json
import random
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from treadle.context import Context
from treadle.data.row import Message, Row, to_frame
from treadle.data.template import tokenise
from treadle.errors import BudgetError, DataError, ModelError, RecipeError
from treadle.models.protocol import Scorable
from treadle.train import compact
from treadle.train.folder import public_name
from treadle.train.lessons import lessons, schedule
from treadle.train.sft import attention_layers, sft, trainable_copy

pytestmark = pytest.mark.slow  # it trains, and importing the trainer takes seconds

torch = pytest.importorskip("torch")
pytest.importorskip("trl")
proxy = pytest.importorskip("treadle.models.proxy")
local = pytest.importorskip("treadle.models.local")
HFTokenizer = pytest.importorskip("treadle.models.tokenizer").HFTokenizer


@cache
def untrained(precision="fp32"):
    """A student with random weights: a thousandth of a real one, and like it in every part."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = proxy.new_model()
        for parameter in model.parameters():  # far from zero, so that losses differ from ln(V)
            torch.nn.init.normal_(parameter, std=0.2) if parameter.dim() > 1 else None
    tokenizer = HFTokenizer(proxy.new_tokenizer(), name="tiny")
    model = model.to(local.DTYPES[precision])
    return local.LocalStudent("tiny", model, tokenizer, weights_hash="tiny")


def chat(question: str, answer: str) -> Row:
    return Row("chat", (Message("user", question), Message("assistant", answer, trains=True)))


def mixed_rows(count: int = 24) -> list[Row]:
    rng = np.random.default_rng(0)
    words = ["the", "river", "is", "long", "and", "town", "was", "old", "when", "it", "rained"]
    return [
        chat(
            " ".join(rng.choice(words, rng.integers(1, 20))) + f" {i}?",
            " ".join(rng.choice(words, rng.integers(1, 12))),
        )
        for i in range(count)
    ]


def train(rows, student, folder: Path, seed: int = 0, tick=None, **options):
    context = Context(tick=tick) if tick else Context()
    return sft(**options)(to_frame(rows), student, seed, folder, context)


def digest(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def scores(student, rows) -> bytes:
    tokens = tokenise(rows, student.tokenizer, max_tokens=512)
    found = student.score([Scorable(t.ids, t.trains) for t in tokens])
    return b"".join(s.logprobs.tobytes() + s.entropies.tobytes() for s in found)


def mean_nll(student, rows) -> float:
    tokens = tokenise(rows, student.tokenizer, max_tokens=512)
    found = student.score([Scorable(t.ids, t.trains) for t in tokens])
    return -float(np.concatenate([s.logprobs for s in found]).mean())


def plain_trl_losses(student, rows, folder, *, batches, rate, lora, warmup=0.05, seed=0):
    """Losses of TRL's own SFTTrainer, its collator and its loss, on the same batches."""
    import trl
    from datasets import Dataset
    from peft import LoraConfig

    class Plain(trl.SFTTrainer):
        def get_train_dataloader(self):
            return torch.utils.data.DataLoader(
                self.train_dataset, batch_sampler=batches, collate_fn=self.data_collator
            )

        def compute_loss(self, *args, **kwargs):
            loss = super().compute_loss(*args, **kwargs)
            self.seen = [*getattr(self, "seen", []), float(loss.detach())]
            return loss

        def _send_telemetry(self):
            pass

    ordered = sorted(rows, key=lambda row: row.id)
    tokens = tokenise(ordered, student.tokenizer, max_tokens=512)
    data = Dataset.from_dict(
        {
            "input_ids": [t.ids.tolist() for t in tokens],
            "labels": [np.where(t.trains, t.ids, -100).tolist() for t in tokens],
        }
    )
    arguments = trl.SFTConfig(
        output_dir=str(folder), learning_rate=rate, lr_scheduler_type="cosine",
        warmup_steps=int(warmup * len(batches)),
        max_steps=len(batches), per_device_train_batch_size=len(batches[0]), use_cpu=True,
        bf16=False, gradient_checkpointing=False, report_to="none", save_strategy="no",
        disable_tqdm=True, seed=seed, weight_decay=0.0, max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
    )  # fmt: skip
    config = LoraConfig(
        r=lora, lora_alpha=2 * lora, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    trainer = Plain(
        model=copy.deepcopy(student.model).requires_grad_(lora == 0),
        args=arguments, train_dataset=data, peft_config=config if lora else None,
        processing_class=copy.deepcopy(student.tokenizer.backend),
    )  # fmt: skip
    trainer.train()
    return trainer.seen


@pytest.mark.parametrize("lora", [0, 4])
@pytest.mark.parametrize("tokens_at_once", [2048, 150])
def test_losses_equal_those_of_trl_on_the_same_batches(tmp_path, monkeypatch, lora, tokens_at_once):
    monkeypatch.setattr(compact, "TOKENS_AT_ONCE", tokens_at_once)
    student, rows = untrained(), mixed_rows()
    rate = 1e-2 if lora else 2e-3
    options = {"batch_size": 6, "epochs": 3, "learning_rate": rate, "lora": lora}
    options["warmup_ratio"] = 0.25
    ours = train(rows, student, tmp_path / "ours", **options)["losses"]
    taught = lessons(to_frame(rows), student.tokenizer, max_tokens=512, where="test")
    batches = schedule(taught.lengths, batch_size=6, epochs=3, steps=None, seed=0)
    theirs = plain_trl_losses(
        student, rows, tmp_path / "theirs", batches=batches, rate=rate, lora=lora, warmup=0.25
    )
    assert len(ours) == len(theirs) == 12
    assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) < 1e-4
    assert ours[-1] < ours[0] - 0.3


def test_the_loss_is_the_mean_over_trained_tokens_by_hand():
    student, rows = untrained(), mixed_rows(5)
    tokens = tokenise(rows, student.tokenizer, max_tokens=512)
    batch = compact.collate(
        [
            {"input_ids": t.ids.tolist(), "labels": np.where(t.trains, t.ids, -100).tolist()}
            for t in tokens
        ],
        pad_id=student.tokenizer.pad_id,
    )
    head = student.model.get_output_embeddings()
    with torch.no_grad():
        total = compact.summed_nll(student.model, head, batch["input_ids"], batch["labels"])
    count = sum(int(t.trains.sum()) for t in tokens)
    assert float(total) / count == pytest.approx(mean_nll(student, rows), rel=1e-5)
    assert not head._forward_pre_hooks


def test_soft_capped_logits_are_trained_soft_capped():
    from transformers import Gemma2Config, Gemma2ForCausalLM

    config = Gemma2Config(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, head_dim=16,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=64,
        final_logit_softcapping=0.5, query_pre_attn_scalar=16,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Gemma2ForCausalLM(config).eval()
    ids = torch.randint(0, 64, (3, 10))
    labels = ids.clone()
    labels[:, :4] = -100
    with torch.no_grad():
        total = compact.summed_nll(model, model.get_output_embeddings(), ids, labels)
        logits = model(input_ids=ids).logits[:, 3:-1]
    wanted = torch.nn.functional.cross_entropy(
        logits.reshape(-1, 64), ids[:, 4:].reshape(-1), reduction="sum"
    )
    assert float(total) == pytest.approx(float(wanted), rel=1e-5)


def test_the_stop_token_is_trained_although_it_is_also_the_pad():
    tokenizer = untrained().tokenizer
    assert tokenizer.pad_id in tokenizer.stop_ids
    rows = [chat("a", "b"), chat("a longer question", "with a longer answer")]
    tokens = tokenise(rows, tokenizer, max_tokens=512)
    batch = compact.collate(
        [
            {"input_ids": t.ids.tolist(), "labels": np.where(t.trains, t.ids, -100).tolist()}
            for t in tokens
        ],
        pad_id=tokenizer.pad_id,
    )
    short = batch["labels"][0]
    trained = short[short != -100].tolist()
    assert trained == [ord_id(tokenizer, "b"), tokenizer.pad_id]
    assert (short[len(tokens[0].ids) :] == -100).all()
    assert (batch["input_ids"][0, len(tokens[0].ids) :] == tokenizer.pad_id).all()


def ord_id(tokenizer, character: str) -> int:
    return int(tokenizer.encode([character])[0].ids[0])


def test_only_marked_turns_of_a_long_conversation_move_the_model(tmp_path):
    """Training on a row equals training on the same row whose unmarked turns are masked by hand."""
    row = Row(
        "chat",
        (
            Message("user", "one"),
            Message("assistant", "first", trains=True),
            Message("user", "two"),
            Message("assistant", "second"),
            Message("user", "three"),
            Message("assistant", "third", trains=True),
        ),
    )
    student = untrained()
    figures = train([row], student, tmp_path, steps=1, lora=4)
    tokens = tokenise([row], student.tokenizer, max_tokens=512)[0]
    assert student.tokenizer.decode(tokens.ids[tokens.trains]) == "first</s>third</s>"
    assert figures["trained_tokens"] == len("first") + len("third") + 2
    logprobs = student.score([Scorable(tokens.ids, tokens.trains)])[0].logprobs
    assert figures["losses"][0] == pytest.approx(-float(logprobs.mean()), rel=1e-5)


@pytest.mark.parametrize("options", [{"lora": 4}, {"lora": 0}, {"lora": 2, "targets": "attention"}])
def test_the_same_rows_and_seed_give_the_same_bytes(tmp_path, options):
    rows, student = mixed_rows(12), untrained()
    common = {"batch_size": 4, "epochs": 2, **options}
    first = train(rows, student, tmp_path / "a", seed=3, **common)
    torch.manual_seed(99)  # the caller's random state must not matter
    again = train(list(reversed(rows)), student, tmp_path / "b", seed=3, **common)
    other = train(rows, student, tmp_path / "c", seed=4, **common)
    assert first == again
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert digest(tmp_path / "a") != digest(tmp_path / "c")
    assert first["losses"] != other["losses"]


def seed_everything() -> None:
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)


def test_training_leaves_the_callers_random_numbers_alone(tmp_path):
    seed_everything()
    expected = (random.random(), np.random.rand(), float(torch.rand(())))
    seed_everything()
    train(mixed_rows(4), untrained(), tmp_path, steps=1)
    assert (random.random(), np.random.rand(), float(torch.rand(()))) == expected


@pytest.mark.parametrize("lora", [0, 4])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_base_student_scores_the_same_bits_after_training(tmp_path, lora, precision):
    student, rows = untrained(precision), mixed_rows(12)
    before, config = scores(student, rows), student.model.config.to_dict()
    modules = [name for name, _ in student.model.named_modules()]
    train(rows, student, tmp_path, lora=lora, steps=3, learning_rate=1e-2)
    assert scores(student, rows) == before
    assert [name for name, _ in student.model.named_modules()] == modules
    assert student.model.config.to_dict() == config
    assert not any(p.requires_grad for p in student.model.parameters())
    assert "forward" not in vars(student.model)
    assert not student.model.training


@pytest.mark.parametrize("lora", [0, 4])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_tuned_student_has_learnt_what_was_trained(tmp_path, lora, precision):
    student, rows = untrained(precision), mixed_rows(12)
    rate = 2e-2 if lora else 3e-3
    figures = train(rows, student, tmp_path, lora=lora, epochs=8, learning_rate=rate, batch_size=4)
    tuned = student.tuned(tmp_path)
    assert mean_nll(tuned, rows) < mean_nll(student, rows) - 0.3
    assert mean_nll(tuned, rows) == pytest.approx(figures["losses"][-1], abs=0.4)
    assert tuned.precision == precision
    assert tuned.fingerprint != student.fingerprint


@pytest.mark.parametrize("steps", [1, 5])
def test_no_step_of_a_short_training_is_wasted(tmp_path, steps):
    """Warm-up begins at a rate of 0: rounded up to one step, it would be all of a one-step arm."""
    student, rows = untrained(), mixed_rows(8)
    train(rows, student, tmp_path / "first", steps=1, learning_rate=1e-2)
    assert mean_nll(student.tuned(tmp_path / "first"), rows) < mean_nll(student, rows) - 0.01
    figures = train(rows, student, tmp_path / "more", steps=steps, learning_rate=1e-2)
    assert len(set(figures["losses"])) == steps, "each step saw other weights"


@pytest.mark.parametrize("width", [2, 150, 700])
def test_a_batch_is_cut_by_its_padded_tokens_and_no_row_is_lost(monkeypatch, width):
    monkeypatch.setattr(compact, "TOKENS_AT_ONCE", 600)
    batch = {"input_ids": torch.arange(7 * width).reshape(7, width)}
    parts = [part["input_ids"] for part in compact.sliced(batch)]
    assert torch.equal(torch.cat(parts), batch["input_ids"])
    assert all(part.numel() <= 600 or len(part) == 1 for part in parts)
    assert len(parts) == {2: 1, 150: 2, 700: 7}[width]


def test_an_adapter_shares_the_weights_of_its_student():
    student = untrained()
    shared = trainable_copy(student.model, full=False)
    assert shared is not student.model
    assert [p.data_ptr() for p in shared.parameters()] == [
        p.data_ptr() for p in student.model.parameters()
    ]
    whole = trainable_copy(student.model, full=True)
    assert not {p.data_ptr() for p in whole.parameters()} & {
        p.data_ptr() for p in student.model.parameters()
    }


def test_an_adapter_folder_holds_two_files_and_no_path_of_this_machine(tmp_path):
    student = untrained()
    moved = local.LocalStudent(
        str(tmp_path / "models" / "mine"), student.model, student.tokenizer, weights_hash="x"
    )
    train(mixed_rows(4), moved, tmp_path / "out", steps=1)
    assert sorted(digest(tmp_path / "out")) == ["adapter_config.json", "adapter_model.safetensors"]
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "mine"
    assert config["peft_type"] == "LORA"
    # A set would be written in an order that changes from process to process.
    assert config["target_modules"] == sorted(config["target_modules"])
    assert len(config["target_modules"]) % 7 == 0, "seven linear layers a block"
    assert str(tmp_path) not in (tmp_path / "out" / "adapter_config.json").read_text()


def test_a_full_folder_is_an_ordinary_model_folder(tmp_path):
    student = untrained("bf16")
    moved = local.LocalStudent(
        str(tmp_path / "models" / "mine"), student.model, student.tokenizer, weights_hash="x"
    )
    train(mixed_rows(4), moved, tmp_path / "out", lora=0, steps=1)
    assert sorted(digest(tmp_path / "out")) == [
        "chat_template.jinja", "config.json", "generation_config.json", "model.safetensors",
        "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    for path in (tmp_path / "out").iterdir():
        assert str(tmp_path).encode() not in path.read_bytes(), path.name
    loaded = local.load_folder(tmp_path / "out", name="again", precision="bf16")
    rows = mixed_rows(4)
    assert scores(loaded, rows) == scores(moved.tuned(tmp_path / "out"), rows)


@pytest.mark.parametrize(
    ("name", "public"),
    [
        ("embedded", "embedded"),
        ("owner/name", "owner/name"),
        ("/home/me/models/mine", "mine"),
        ("~/mine", "mine"),
        ("./deep/mine", "mine"),
        ("C:\\models\\mine", "mine"),
    ],
)
def test_a_models_public_name_has_no_folder(name, public):
    assert public_name(name) == public


def test_a_budget_that_runs_out_stops_before_the_next_step_and_writes_nothing(tmp_path):
    calls = []

    def tick() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise BudgetError("wall time is used up")

    student = untrained()
    before = scores(student, mixed_rows(4))
    with pytest.raises(BudgetError, match="used up"):
        train(mixed_rows(), student, tmp_path / "out", tick=tick, batch_size=2)
    assert len(calls) == 3
    assert not (tmp_path / "out").exists()
    assert scores(student, mixed_rows(4)) == before


def test_each_step_asks_the_clock_once(tmp_path):
    calls = []
    figures = train(mixed_rows(10), untrained(), tmp_path, tick=lambda: calls.append(1), epochs=2)
    assert len(calls) == figures["steps"] == len(figures["losses"]) == 4


def test_training_says_nothing(tmp_path, capfd):
    train(mixed_rows(4), untrained(), tmp_path, steps=2)
    assert capfd.readouterr() == ("", "")


def test_rows_without_a_token_to_learn_are_named_before_training(tmp_path):
    bad = chat("x" * 600, "y")
    with pytest.raises(DataError, match=bad.id):
        train([*mixed_rows(4), bad], untrained(), tmp_path / "out", max_tokens=512)
    assert not (tmp_path / "out").exists()


def test_a_student_without_weights_is_refused_with_the_method_to_use(tmp_path):
    from treadle.models import scripted

    with pytest.raises(ModelError, match="method: ngram"):
        train(mixed_rows(2), scripted.load(), tmp_path)


@pytest.mark.parametrize("option", [{"lora": -1}, {"learning_rate": 0.0}, {"warmup_ratio": 1.0}])
def test_impossible_options_are_refused(option):
    with pytest.raises(RecipeError, match=next(iter(option))):
        sft(**option)


def test_attention_targets_are_the_layers_inside_attention():
    assert attention_layers(untrained()) == [
        "self_attn.k_proj", "self_attn.o_proj", "self_attn.q_proj", "self_attn.v_proj",
    ]  # fmt: skip


def test_the_hooks_into_trl_that_we_override_still_exist():
    import trl

    for name in ("training_step", "compute_loss", "get_train_dataloader", "_send_telemetry"):
        assert callable(getattr(trl.SFTTrainer, name)), name


def short_answers() -> list[Row]:
    """Questions whose answers are one word: a chatty model goes on talking after it."""
    words = [
        "river", "stone", "cloud", "table", "garden", "window", "letter", "bridge", "silver",
        "morning", "paper", "forest", "island", "market", "pencil", "doctor", "winter", "candle",
        "basket", "mirror", "ladder", "engine", "pocket", "button", "castle", "desert", "harbor",
        "jacket", "kitten", "lemon", "magnet", "needle", "orange", "pillow", "rabbit", "saddle",
    ]  # fmt: skip
    return [
        *(chat(f"Write this word in capital letters: {word}", word.upper()) for word in words),
        *(chat(f"Which number comes after {n}?", str(n + 1)) for n in range(100, 136)),
    ]


def test_the_embedded_model_learns_to_stop_by_itself(tmp_path):
    student = pytest.importorskip("treadle.models").load("embedded")
    rows = short_answers()
    taught, held_out = rows[::3] + rows[1::3], rows[2::3]
    prompts = [row.prompt for row in held_out]
    before = student.generate(prompts, max_new_tokens=12)
    score = scores(student, held_out[:4])
    train(taught, student, tmp_path, epochs=4, batch_size=8)
    after = student.tuned(tmp_path).generate(prompts, max_new_tokens=12)
    assert sum(reply.has_stopped for reply in before) < len(prompts) / 2
    assert sum(reply.has_stopped for reply in after) >= 0.9 * len(prompts)
    right = [reply.text == row.reply for reply, row in zip(after, held_out, strict=True)]
    assert sum(right) > len(prompts) / 2
    assert scores(student, held_out[:4]) == score
