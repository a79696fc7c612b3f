"""The proxy student: a transformer of 0.1 million parameters that is half-way through learning sums.

    student = proxy.load()          # pretrained once a machine, then read from the cache
    proxy_rows(600, seed=1, wrong_share=0.3)

A whole round with a dozen training runs fits into a minute, and yet everything is real: the model
is an ordinary Llama folder served by `LocalStudent`, training moves it, right rows take it from
about half to nearly all sums right, and wrong rows hurt. What helps a proxy need not help a large
model: use it to test a wheel, not to choose a method.

It learns with all weights, not with an adapter: `train: {lora: 0, learning_rate: 0.003, batch_size: 128, steps: 150}`.

Not here: the sums themselves (`sums`), training (`train/sft.py`).
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from treadle.data.row import ROLES
from treadle.data.template import tokenise
from treadle.models import local, sums
from treadle.models.cache import kept
from treadle.models.sums import proxy_items, proxy_rows
from treadle.models.tokenizer import HFTokenizer

__all__ = ["load", "new_model", "new_tokenizer", "proxy_items", "proxy_rows"]

STOP = "</s>"
TEMPLATE = (
    "{% for m in messages %}<{{ m['role'][0] }}>{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<a>{% endif %}"
)
WINDOW = 512
BATCH, RATE, WARMUP, MOST_STEPS = 128, 3e-3, 30, 600
ENOUGH, PROBE = 0.6, 400
SEED = 1


def load() -> local.LocalStudent:
    """Load the proxy, pretraining it first if this machine has not yet done so.

    Raises:
        ModelError: the cache cannot be written.
    """
    return local.load_folder(folder(), name="proxy", precision="fp32")


def folder() -> Path:
    """Return the folder of the pretrained proxy; make it if it is missing or damaged.

    Raises:
        ModelError: as for `load`.
    """
    sources = [Path(str(module.__file__)).read_bytes() for module in (sys.modules[__name__], sums)]
    return kept(
        f"proxy-{hashlib.sha256(b''.join(sources)).hexdigest()[:12]}",
        _make,
        doing="pretraining the proxy (once, about 10 seconds)",
        room="1 MB",
    )


def _make(target: Path) -> None:
    pretrained().save_pretrained(target)
    new_tokenizer().save_pretrained(target)


def pretrained() -> LlamaForCausalLM:
    """Return the half-trained model: trained on right sums until it says `ENOUGH` of them.

    No evaluation sum is among them. A fixed number of steps would leave it anywhere on a steep
    slope, depending on the machine's arithmetic.
    """
    ids, labels = _examples()
    with torch.random.fork_rng():  # the caller's random numbers go on as if nothing had happened
        torch.manual_seed(SEED)
        model = new_model()
        optimiser = torch.optim.AdamW(
            model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.1
        )
        for step in range(1, MOST_STEPS + 1):
            batch = torch.randint(len(ids), (BATCH,))
            optimiser.param_groups[0]["lr"] = RATE * min(1.0, step / WARMUP)
            model(input_ids=ids[batch], labels=labels[batch]).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
            if step % 10 == 0 and _share_right(model, ids[:PROBE], labels[:PROBE]) >= ENOUGH:
                break
    return model.eval()


def _share_right(model: LlamaForCausalLM, ids: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the share of rows whose every trained token is the most likely one."""
    with torch.inference_mode():
        likely = model(input_ids=ids).logits[:, :-1].argmax(dim=-1)
    is_right = (likely == labels[:, 1:]) | (labels[:, 1:] == -100)
    return float(is_right.all(dim=1).float().mean())


def _examples() -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and labels of every training sum, padded on the right."""
    every = len(sums.training_pairs())
    tokenizer = HFTokenizer(new_tokenizer(), name="proxy")
    rows = sorted(proxy_rows(every, SEED), key=lambda row: row.id)
    tokens = tokenise(rows, tokenizer, max_tokens=WINDOW)
    width = max(len(row.ids) for row in tokens)
    ids = torch.full((every, width), tokenizer.pad_id)
    labels = torch.full((every, width), -100)
    for i, row in enumerate(tokens):
        ids[i, : len(row.ids)] = torch.from_numpy(row.ids)
        labels[i, : len(row.ids)] = torch.from_numpy(np.where(row.trains, row.ids, -100))
    return ids, labels


def new_model() -> LlamaForCausalLM:
    """Return the model with random weights, drawn from torch's current seed."""
    config = LlamaConfig(
        vocab_size=256 + 1 + len(ROLES),
        hidden_size=64,
        intermediate_size=176,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=WINDOW,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config)
    stop = new_tokenizer().eos_token_id
    model.generation_config = GenerationConfig(eos_token_id=stop, pad_token_id=stop)
    model.config.eos_token_id = model.config.pad_token_id = stop
    model.config.bos_token_id = None
    return model


def new_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token a byte, one for each role, and a stop token.

    The pad is the stop token, as in many real models: masks must go by position.
    """
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    roles = [f"<{role[0]}>" for role in ROLES]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=STOP,
        pad_token=STOP,
        additional_special_tokens=roles,
        clean_up_tokenization_spaces=False,
        model_max_length=WINDOW,
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer
