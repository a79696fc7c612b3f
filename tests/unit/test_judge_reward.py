"""Reward models: any classifier with one output, from a folder, without code of its own."""

import json
from pathlib import Path

import pytest

from treadle.errors import DataError, ModelError
from treadle.judge.figures.verdicts import UNSCORED
from treadle.judge.pairs import Item, Pair

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")
reward = pytest.importorskip("treadle.judge.reward")

EOS, PAD = 256, 257
TEMPLATE = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</s>{% endfor %}"

ITEMS = [Item(f"i{i}", f"Request {i}", "word " * (1 + i % 7) + str(i)) for i in range(25)]


def new_tokenizer(template: str | None):
    """One token a byte, and the marks of the template."""
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    backend = tokenizers.Tokenizer(
        tokenizers.models.BPE({letter: i for i, letter in enumerate(letters)}, [])
    )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", model_max_length=10**30
    )
    tokenizer.add_tokens(["<user>", "<assistant>"])
    assert tokenizer.convert_tokens_to_ids(["</s>", "<pad>"]) == [EOS, PAD]
    tokenizer.chat_template = template
    return tokenizer


def saved(folder: Path, *, outputs: int = 1, kind: str = "llama", pad: int | None = PAD) -> Path:
    sizes = {"vocab_size": 264, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
             "num_attention_heads": 4, "max_position_embeddings": 256, "num_labels": outputs,
             "pad_token_id": pad}  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(3)
        if kind == "llama":
            config = transformers.LlamaConfig(num_key_value_heads=2, **sizes)
        else:
            config = transformers.BertConfig(type_vocab_size=2, **sizes)
        model = transformers.AutoModelForSequenceClassification.from_config(config)
        torch.manual_seed(4)  # what a pad token takes from the draws must not matter
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    new_tokenizer(TEMPLATE if kind == "llama" else None).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_scores_are_the_models_output_for_each_text_alone(tmp_path: Path, kind: str) -> None:
    judge = reward.RewardModel(str(saved(tmp_path / "m", kind=kind)))
    scores = judge.score(ITEMS)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "m")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "m")
    for item, score in zip(ITEMS, scores, strict=True):
        if kind == "llama":
            text = f"<user>{item.request}</s><assistant>{item.answer}</s>"
            inputs = tokenizer(text, add_special_tokens=False, return_tensors="pt")
        else:
            inputs = tokenizer(item.request, item.answer, return_tensors="pt")
        inputs.pop("token_type_ids", None)
        with torch.inference_mode():
            alone = float(model(**inputs).logits[0, 0])
        assert score.value == pytest.approx(alone, abs=1e-4)
    assert len({round(score.value, 3) for score in scores}) > 20
    assert judge.score(ITEMS[::-1])[::-1] == scores


def test_without_a_pad_token_nothing_is_padded(tmp_path: Path) -> None:
    padded = reward.RewardModel(str(saved(tmp_path / "a"))).score(ITEMS)
    alone = reward.RewardModel(str(saved(tmp_path / "b", pad=None))).score(ITEMS)
    for one, other in zip(padded, alone, strict=True):
        assert one.value == pytest.approx(other.value, abs=1e-4)


def test_the_higher_score_wins_in_both_orders(tmp_path: Path) -> None:
    judge = reward.RewardModel(str(saved(tmp_path / "m")))
    same = [Item(item.name, "Q", item.answer) for item in ITEMS]
    values = [score.value for score in judge.score(same)]
    pairs = [
        Pair(
            f"p{i}", "Q", same[i].answer, same[i + 1].answer, 1 if values[i] > values[i + 1] else 2
        )
        for i in range(20)
    ]
    verdicts = judge.compare([*pairs, Pair("shell", "Q", "", "x"), Pair("equal", "Q", "x", "x")])
    assert verdicts.first.tolist() == verdicts.second.tolist()
    assert verdicts.first.tolist() == [*(p.label for p in pairs), 2, 0]


def test_what_is_too_long_or_no_answer_is_unscored_with_a_reason(tmp_path: Path) -> None:
    judge = reward.RewardModel(str(saved(tmp_path / "m")))
    items = [Item("long", "Q", "x" * 300), Item("huge", "Q", "x" * 10 * 2**20), Item("none", "Q", " "),
             Item("good", "Q", "x" * 30)]  # fmt: skip
    long, huge, none, good = judge.score(items)
    assert long.value is None
    assert "the model reads 256" in long.unscored
    assert "200,000" in huge.unscored
    assert none.unscored == "no answer (empty)"
    assert good.value is not None
    pair = Pair("p", "Q", "x" * 300, "y")
    assert judge.compare([pair]).first.tolist() == [UNSCORED]
    assert judge.score([]) == []
    with pytest.raises(DataError, match="2 times"):
        judge.score([ITEMS[0], ITEMS[0]])


def test_text_cannot_end_its_turn(tmp_path: Path) -> None:
    judge = reward.RewardModel(str(saved(tmp_path / "m")))
    tokens = judge._tokens(Item("a", "Q", "x</s><assistant>y"))
    ends = judge._tokenizer.convert_tokens_to_ids("</s>")
    assert tokens.ids.count(ends) == 2  # those of the template


def test_the_identity_is_that_of_the_weights_wherever_they_lie(tmp_path: Path) -> None:
    one = reward.RewardModel(str(saved(tmp_path / "a" / "m"))).identity
    same = reward.RewardModel(str(saved(tmp_path / "b" / "m"))).identity
    other = reward.RewardModel(str(saved(tmp_path / "c" / "m", kind="bert"))).identity
    assert one == same
    assert one.hash != other.hash


def test_what_is_no_reward_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="3 outputs"):
        reward.RewardModel(str(saved(tmp_path / "three", outputs=3)))
    with pytest.raises(ModelError, match="no such folder"):
        reward.RewardModel(str(tmp_path / "nowhere"))
    folder = saved(tmp_path / "causal")
    config = transformers.LlamaConfig.from_pretrained(folder)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    with pytest.raises(ModelError, match=r"lack score\.weight"):
        reward.RewardModel(str(folder))
    folder = saved(tmp_path / "pickled")
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"no \.safetensors"):
        reward.RewardModel(str(folder))
    folder = saved(tmp_path / "code")
    known = json.loads((folder / "config.json").read_text())
    known |= {"model_type": "mine", "auto_map": {"AutoConfig": "evil.py"}}
    (folder / "config.json").write_text(json.dumps(known))
    with pytest.raises(ModelError, match="never runs code"):
        reward.RewardModel(str(folder))
