"""Gradients of single rows: against autograd, PEFT, torch's AdamW, and a step that is really taken."""

import copy
import math
from functools import cache

import numpy as np
import pytest

from treadle.data.row import Message, Row
from treadle.data.template import tokenise
from treadle.errors import BudgetError, ModelError
from treadle.models.protocol import Scorable
from treadle.models.sketch import Sketch, sketch

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
proxy = pytest.importorskip("treadle.models.proxy")
local = pytest.importorskip("treadle.models.local")
adapters = pytest.importorskip("treadle.models.adapter")
gradients = pytest.importorskip("treadle.models.gradients")
HFTokenizer = pytest.importorskip("treadle.models.tokenizer").HFTokenizer

RANK = 4
WORDS = ["the", "river", "is", "long", "and", "town", "was", "old", "when", "it", "rained"]


@cache
def student(precision="fp32"):
    """A student with random weights: a thousandth of a real one, and like it in every part."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = proxy.new_model()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2) if parameter.dim() > 1 else None
    tokenizer = HFTokenizer(proxy.new_tokenizer(), name="tiny")
    model = model.to(local.DTYPES[precision])
    return local.LocalStudent("tiny", model, tokenizer, weights_hash="tiny")


@cache
def factors():
    """An adapter that has moved: with B at zero, A would have no gradient."""
    rng = np.random.default_rng(3)
    fresh = adapters.new_factors(student().model, RANK, seed=0)
    moved = {
        name: torch.from_numpy(rng.normal(0, 0.05, factor.shape).astype(np.float32))
        for name, factor in fresh.items()
    }
    return {name: fresh[name] + moved[name] for name in fresh}


def chat(question, answer):
    return Row("chat", (Message("user", question), Message("assistant", answer, trains=True)))


def sequences(count=12, seed=0, of=None):
    rng = np.random.default_rng(seed)
    rows = [
        chat(
            " ".join(rng.choice(WORDS, rng.integers(1, 20))),
            " ".join(rng.choice(WORDS, rng.integers(1, 12))) + f" {seed}-{i}",
        )
        for i in range(count)
    ]
    tokens = tokenise(rows, (of or student()).tokenizer, max_tokens=512)
    return [Scorable(t.ids, t.trains) for t in tokens]


def row_loss(model, sequence):
    """The mean loss of a row's wanted tokens, the plain way."""
    ids = torch.from_numpy(sequence.ids.astype(np.int64))[None].to(model.device)
    labels = torch.where(torch.from_numpy(sequence.wanted)[None], ids, -100)
    return model(input_ids=ids, labels=labels).loss


def by_autograd(model, adapter, sequence):
    """The gradient of one row as one long vector: a backward pass for this row alone."""
    leaves = {name: factor.clone().requires_grad_() for name, factor in adapter.items()}
    with adapters.adapted(model, leaves):
        found = torch.autograd.grad(row_loss(model, sequence), list(leaves.values()))
    return torch.cat([g.flatten() for g in found])


def by_hooks(model, adapter, members):
    """The gradients of all rows from one backward pass, shape (rows, coordinates)."""
    parts = {}
    gradients.row_gradients(model, adapter, members, 0, parts.__setitem__)
    return torch.cat([parts[name].flatten(1) for name in adapter], dim=1)


def cosine(a, b):
    return float((a.double() @ b.double()) / (a.double().norm() * b.double().norm()))


def relative(a, b):
    return float((a - b).norm() / b.norm())


def test_gradients_of_a_batch_equal_those_of_each_row_alone() -> None:
    members = sequences()
    found = by_hooks(student().model, factors(), members)
    for row, sequence in zip(found, members, strict=True):
        alone = by_autograd(student().model, factors(), sequence)
        assert cosine(row, alone) >= 0.99999
        assert relative(row, alone) < 1e-4, "and they are as long"


def test_inner_products_of_gradients_are_kronfluences_scores(tmp_path) -> None:
    """Its strategy `identity` has no curvature: a score is a plain inner product."""
    pytest.importorskip("kronfluence", reason="kronfluence is not installed (make setup does)")
    from kronfluence.analyzer import Analyzer, prepare_model
    from kronfluence.arguments import FactorArguments
    from kronfluence.task import Task
    from kronfluence.utils.dataset import DataLoaderKwargs

    class MeanLoss(Task):
        def compute_train_loss(self, batch, model, sample=False):
            return model(**batch).loss

        def compute_measurement(self, batch, model):
            return model(**batch).loss

        def get_influence_tracked_modules(self):
            modules = wrapped.named_modules()
            return [n for n, m in modules if "lora_" in n and isinstance(m, torch.nn.Linear)]

    def dataset(members):
        ids = [torch.from_numpy(s.ids.astype(np.int64)) for s in members]
        labels = [
            torch.where(torch.from_numpy(s.wanted), i, -100)
            for i, s in zip(ids, members, strict=True)
        ]
        pairs = zip(ids, labels, strict=True)
        return ListDataset([{"input_ids": i, "labels": wanted} for i, wanted in pairs])

    class ListDataset(list, torch.utils.data.Dataset):
        pass

    wrapped, task = in_peft(factors()), MeanLoss()
    pool, targets = sequences(7), sequences(3, seed=9)
    analyzer = Analyzer(
        "rows", prepare_model(wrapped, task), task, cpu=True, output_dir=str(tmp_path),
        disable_tqdm=True,
    )  # fmt: skip
    analyzer.set_dataloader_kwargs(DataLoaderKwargs(num_workers=0))
    analyzer.fit_all_factors(
        "none", dataset(pool), factor_args=FactorArguments(strategy="identity"),
        per_device_batch_size=1,
    )  # fmt: skip
    analyzer.compute_pairwise_scores(
        "dot", "none", dataset(targets), dataset(pool), per_device_query_batch_size=1,
        per_device_train_batch_size=1,
    )  # fmt: skip
    theirs = analyzer.load_pairwise_scores("dot")["all_modules"].double()
    of_targets, of_pool = (
        by_hooks(student().model, factors(), members).double() for members in (targets, pool)
    )
    assert theirs.shape == (3, 7)
    assert relative(of_targets @ of_pool.T, theirs) < 1e-4


def test_a_student_in_bf16_has_about_the_same_gradients() -> None:
    members = sequences(6)
    wide, narrow = (by_hooks(student(p).model, factors(), members) for p in ("fp32", "bf16"))
    assert wide.dtype == narrow.dtype == torch.float32
    assert min(cosine(a, b) for a, b in zip(wide, narrow, strict=True)) >= 0.99


def test_the_adapter_is_the_one_of_peft() -> None:
    wrapped = in_peft(factors())
    (sequence,) = sequences(1)
    ids = torch.from_numpy(sequence.ids.astype(np.int64))[None]
    with torch.no_grad():
        theirs = wrapped(input_ids=ids).logits
        plain = student().model(input_ids=ids).logits
        with adapters.adapted(student().model, factors()):
            ours = student().model(input_ids=ids).logits
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(ours, plain, atol=1e-2)


def in_peft(adapter):
    """The student with PEFT's own adapter, holding these factors."""
    config = peft.LoraConfig(
        r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    wrapped = peft.get_peft_model(copy.deepcopy(student().model), config)
    own = dict(wrapped.named_parameters())
    assert len([name for name in own if "lora_" in name]) == len(adapter)
    with torch.no_grad():
        for name, factor in adapter.items():
            layer, side = name.rsplit(".", 1)
            own[f"base_model.model.{layer}.lora_{side}.default.weight"].copy_(factor)
    return wrapped


def test_a_warm_up_takes_the_steps_of_adamw_on_a_peft_adapter() -> None:
    members = sequences(20)
    blob = adapters.warm_up(
        student().model, members, lora=RANK, epochs=3, checkpoints=2, learning_rate=1e-2,
        seed=5, pad_id=0, budget=200,
    )  # fmt: skip
    found = adapters.read(blob, torch.device("cpu"))
    wrapped = in_peft(adapters.new_factors(student().model, RANK, seed=5))
    own = {n: p for n, p in wrapped.named_parameters() if p.requires_grad}
    optimiser = torch.optim.AdamW(own.values(), lr=1e-2, weight_decay=0.0)
    batches = adapters._batches(20, 3, 2, 5)
    assert sorted(i for batch in batches[:3] for i in batch) == list(range(20)), (
        "an epoch shows every row once"
    )
    assert [c.steps for c in found] == [4, 9]
    for step, batch in enumerate(batches):
        optimiser.param_groups[0]["lr"] = 1e-2 * (1 - step / 9)
        rows = [members[i] for i in batch]
        counts = [int(s.wanted.sum()) for s in rows]
        total = sum(row_loss(wrapped, s) * n for s, n in zip(rows, counts, strict=True))
        optimiser.zero_grad()
        (total / sum(counts)).backward()
        optimiser.step()
    for name, state in found[-1].states.items():
        layer, side = name.rsplit(".", 1)
        theirs = own[f"base_model.model.{layer}.lora_{side}.default.weight"]
        moments = optimiser.state[theirs]
        assert relative(state[0], theirs.detach()) < 2e-3
        assert relative(state[1], moments["exp_avg"]) < 2e-3
        assert relative(state[2], moments["exp_avg_sq"]) < 2e-3


def test_checkpoints_vote_with_the_mean_learning_rate_of_their_stretch() -> None:
    blob = adapters.warm_up(
        student().model, sequences(8), lora=1, epochs=16, checkpoints=4, learning_rate=2e-5,
        seed=0, pad_id=0,
    )  # fmt: skip
    found = adapters.read(blob, torch.device("cpu"))
    rates = np.array([1 - s / 16 for s in range(16)]).reshape(4, 4).mean(axis=1)
    np.testing.assert_allclose([c.weight for c in found], rates / rates.sum())
    assert [c.steps for c in found] == [4, 8, 12, 16]


def test_a_warm_up_gives_the_same_bytes_twice_and_leaves_the_student_alone() -> None:
    before = {k: v.clone() for k, v in student().model.state_dict().items()}

    def made(seed):
        return student().warm_up(
            sequences(9), lora=2, epochs=1, checkpoints=1, learning_rate=1e-3, seed=seed
        )

    assert made(0) == made(0) != made(1)
    after = student().model.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert not any(p.requires_grad for p in student().model.parameters())
    assert not any(m._forward_hooks for m in student().model.modules())


def test_no_hook_stays_when_the_budget_runs_out() -> None:
    def stop():
        raise BudgetError("no time left")

    options = {"lora": 2, "epochs": 1, "checkpoints": 1, "learning_rate": 1e-3, "seed": 0}
    with pytest.raises(BudgetError):
        student().warm_up(sequences(9), **options, tick=stop)
    warm = student().warm_up(sequences(9), **options)
    with pytest.raises(BudgetError):
        student().gradients(
            sequences(3), warm, width=64, epsilon="outside", seed=0, tick=stop
        )  # fmt: skip
    assert not any(m._forward_hooks for m in student().model.modules())


@pytest.mark.parametrize("epsilon", ["outside", "inside"])
def test_adams_step_is_that_of_a_naive_loop(epsilon) -> None:
    rng = np.random.default_rng(0)
    g, m = rng.normal(0, 1e-4, (2, 3, 5)), rng.normal(0, 1e-5, 5)
    v = rng.uniform(0, 1e-9, 5) * np.array([1, 1, 1, 1e-4, 0])
    tensors = [torch.from_numpy(x) for x in (g[0], m, v)]
    found = gradients.adam_step(*tensors, steps=7, epsilon=epsilon)
    for i in range(3):
        for j in range(5):
            mean = 0.9 * m[j] + 0.1 * g[0, i, j]
            square = 0.999 * v[j] + 0.001 * g[0, i, j] ** 2
            if epsilon == "inside":
                wanted = mean / math.sqrt(square + 1e-8)
            else:
                wanted = mean / (1 - 0.9**8) / (math.sqrt(square / (1 - 0.999**8)) + 1e-8)
            assert float(found[i, j]) == pytest.approx(wanted, rel=1e-9)


def test_adams_step_is_the_one_that_torchs_adamw_would_take() -> None:
    rng = np.random.default_rng(1)
    weight = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.AdamW([weight], lr=0.1, weight_decay=0.0)
    for _ in range(5):
        weight.grad = torch.from_numpy(rng.normal(0, 1e-3, 6))
        optimiser.step()
    state, before = copy.deepcopy(optimiser.state[weight]), weight.detach().clone()
    weight.grad = torch.from_numpy(rng.normal(0, 1e-3, 6))
    optimiser.step()
    ours = gradients.adam_step(
        weight.grad[None], state["exp_avg"], state["exp_avg_sq"], steps=5, epsilon="outside"
    )[0]
    torch.testing.assert_close(before - 0.1 * ours, weight.detach(), rtol=1e-12, atol=1e-12)


def test_a_small_step_on_one_row_changes_the_loss_of_another_as_their_gradients_say() -> None:
    model = student().model
    train, held_out = sequences(8), sequences(3, seed=1)
    rate, signs = 1e-3, []
    for held in held_out:
        target = by_autograd(model, factors(), held)
        for row, sequence in zip(by_hooks(model, factors(), train), train, strict=True):
            expected = -rate * float(row.double() @ target.double())
            change = loss_after(model, row, rate, held) - loss_after(model, row, 0.0, held)
            signs.append(np.sign(change) == np.sign(expected))
            strength = abs(expected) / (rate * float(row.norm() * target.norm()))
            if strength > 0.05:  # a step at right angles shows only its second order
                assert change == pytest.approx(expected, rel=0.05), sequence
    assert np.mean(signs) == 1.0


def loss_after(model, row, rate, held):
    """The loss of a held-out row after a step of SGD, in double precision."""
    wide = copy.deepcopy(model).double()
    sizes = [factor.numel() for factor in factors().values()]
    steps = dict(zip(factors(), row.split(sizes), strict=True))
    moved = {
        name: factor.double() - rate * steps[name].double().view_as(factor)
        for name, factor in factors().items()
    }
    for name, layer in adapters.linear_layers(wide).items():
        a, b = moved[f"{name}.A"], moved[f"{name}.B"]
        layer.weight.data += 2.0 * b @ a
    with torch.no_grad():
        return float(row_loss(wide, held))


def test_gradients_do_not_depend_on_the_rows_beside_them() -> None:
    members = sequences(10)
    warm = student().warm_up(
        sequences(9, seed=2), lora=RANK, epochs=2, checkpoints=2, learning_rate=1e-2, seed=0
    )

    def found(rows, budget):
        made = gradients.gradients(
            student().model, rows, warm, width=64, epsilon="outside", seed=0, pad_id=0,
            budget=budget,
        )  # fmt: skip
        return made.adam, made.plain

    together = found([*members, *sequences(5, seed=3), members[0]], 2048)
    for whole, alone in zip(together, found(members[::-1], 1), strict=True):
        np.testing.assert_allclose(whole[:10], alone[::-1], atol=2e-4)
        np.testing.assert_array_equal(whole[-1], whole[0])


def test_features_are_weighted_cosines_of_sketches_of_the_exact_gradients() -> None:
    members, width = sequences(6), 32
    warm = student().warm_up(
        sequences(9, seed=2), lora=RANK, epochs=2, checkpoints=2, learning_rate=1e-2, seed=0
    )
    found = student().gradients(members, warm, width=width, epsilon="inside", seed=4)
    for c, checkpoint in enumerate(adapters.read(warm, torch.device("cpu"))):
        part = slice(c * width, (c + 1) * width)
        for i, sequence in enumerate(members):
            sums = slow_sketches(checkpoint, c, sequence, width)
            for short, column in zip(sums, (found.plain, found.adam), strict=True):
                wanted = short / np.linalg.norm(short) * math.sqrt(checkpoint.weight)
                np.testing.assert_allclose(column[i, part], wanted, atol=2e-4)
    np.testing.assert_allclose(np.linalg.norm(found.adam, axis=1), 1, rtol=1e-5)


def test_with_their_lengths_the_product_with_a_mean_target_is_that_of_clues() -> None:
    """CLUES' code: the mean over checkpoints of LR · (Adam's step · mean of the targets' gradients)."""
    train, held_out, width = sequences(4), sequences(3, seed=1), 32
    warm = student().warm_up(
        sequences(9, seed=2), lora=RANK, epochs=2, checkpoints=2, learning_rate=1e-2, seed=0
    )
    options = {"width": width, "epsilon": "inside", "seed": 4, "scale": "length"}
    rows = student().gradients(train, warm, **options).adam
    target = student().gradients(held_out, warm, **options).plain.mean(axis=0)
    stretches = adapters.read(warm, torch.device("cpu"))
    steps = np.array_split(1e-2 * (1 - np.arange(4) / 4), 2)  # of 2 epochs of 2 batches
    for i, sequence in enumerate(train):
        scores = []
        for c, (checkpoint, rates) in enumerate(zip(stretches, steps, strict=True)):
            step = slow_sketches(checkpoint, c, sequence, width)[1]
            plain = [slow_sketches(checkpoint, c, held, width)[0] for held in held_out]
            scores.append(rates.mean() * float(step @ np.mean(plain, axis=0)))
        assert float(rows[i].astype(float) @ target) == pytest.approx(np.mean(scores), rel=2e-3)
    unit = student().gradients(train, warm, **{**options, "scale": "unit"}).adam
    for part in (slice(0, width), slice(width, None)):
        same = [cosine(torch.from_numpy(a), torch.from_numpy(b))
                for a, b in zip(rows[:, part], unit[:, part], strict=True)]  # fmt: skip
        assert min(same) > 1 - 1e-6, "lengths are all that changes"


def test_an_adapter_in_attention_alone_has_the_gradients_of_autograd() -> None:
    warm = student().warm_up(
        sequences(9, seed=2), lora=RANK, epochs=1, checkpoints=1, learning_rate=1e-2, seed=0,
        targets="attention",
    )  # fmt: skip
    (checkpoint,) = adapters.read(warm, torch.device("cpu"))
    names = {name.split(".")[-2] for name in checkpoint.factors}
    assert names == {"q_proj", "k_proj", "v_proj", "o_proj"}
    members = sequences(5)
    for row, sequence in zip(
        by_hooks(student().model, checkpoint.factors, members), members, strict=True
    ):
        assert cosine(row, by_autograd(student().model, checkpoint.factors, sequence)) >= 0.99999
    found = student().gradients(members, warm, width=32, epsilon="inside", seed=4)
    wanted = slow_sketches(checkpoint, 0, members[0], 32)[1]
    assert cosine(torch.from_numpy(found.adam[0]), torch.from_numpy(wanted)) > 1 - 1e-5


def test_a_model_without_attention_layers_is_refused() -> None:
    plain = torch.nn.Sequential(torch.nn.Linear(2, 2))
    plain.get_output_embeddings = lambda: None
    assert len(adapters.linear_layers(plain)) == 1
    with pytest.raises(ModelError, match="called attention"):
        adapters.linear_layers(plain, "attention")


def slow_sketches(checkpoint, c, sequence, width):
    """Plain gradient and Adam's step, each coordinate added to its place by a loop."""
    exact = by_autograd(student().model, checkpoint.factors, sequence)
    sizes = [factor.numel() for factor in checkpoint.factors.values()]
    plain, adam = np.zeros(width), np.zeros(width)
    for name, part in zip(checkpoint.factors, exact.split(sizes), strict=True):
        drawn = sketch(len(part), width, 4, c, name)
        _, first, second = checkpoint.states[name].flatten(1).double().numpy()
        g = part.double().numpy()
        step = (0.9 * first + 0.1 * g) / np.sqrt(0.999 * second + 0.001 * g * g + 1e-8)
        for slot, (at, sign) in enumerate(zip(drawn.coordinates, drawn.signs, strict=True)):
            plain[slot % width] += sign * g[at]
            adam[slot % width] += sign * step[at]
    return plain, adam


@pytest.mark.parametrize(("size", "width"), [(0, 16), (1, 16), (16, 16), (17, 16), (1000, 64)])
def test_a_sketch_places_every_coordinate_once_with_a_sign(size, width) -> None:
    drawn = sketch(size, width, "any")
    is_used = drawn.signs != 0
    assert sorted(drawn.coordinates[is_used]) == list(range(size))
    assert set(np.abs(drawn.signs[is_used])) <= {1.0}
    assert len(drawn.signs) % width == 0
    np.testing.assert_array_equal(drawn.coordinates, sketch(size, width, "any").coordinates)
    if size == 1000:
        assert abs(drawn.signs.sum()) < 100
        assert not np.array_equal(drawn.coordinates, sketch(size, width, "other").coordinates)


def test_a_layer_that_sees_tokens_without_their_rows_is_refused() -> None:
    model = copy.deepcopy(student().model)
    block = model.model.layers[1].mlp
    inner = block.forward
    block.forward = lambda x: inner(x.flatten(0, 1)).view_as(x)  # as experts do
    with pytest.raises(ModelError, match=r"layers\.1\.mlp.* does not see a batch row by row"):
        by_hooks(model, factors(), sequences(2))


def test_a_layer_that_is_used_twice_is_refused() -> None:
    twice = local.LocalStudent(
        "twice", copy.deepcopy(student().model), student().tokenizer, weights_hash="twice"
    )
    block = twice.model.model.layers[1].mlp
    block.gate_proj = block.up_proj
    warm = twice.warm_up(sequences(2), lora=2, epochs=1, checkpoints=1, learning_rate=1e-3, seed=0)
    with pytest.raises(ModelError, match="more than once a row"):
        twice.gradients(sequences(2), warm, width=16, epsilon="outside", seed=0)


@pytest.mark.slow
def test_gradients_of_the_embedded_model_equal_those_of_each_row_alone() -> None:
    embedded = pytest.importorskip("treadle.models.embedded").load(precision="fp32")
    members = sequences(6, of=embedded)
    warm = embedded.warm_up(
        members[:4], lora=8, epochs=1, checkpoints=1, learning_rate=5e-4, seed=0
    )
    (checkpoint,) = adapters.read(warm, embedded.device)
    found = by_hooks(embedded.model, checkpoint.factors, members)
    for row, sequence in zip(found, members, strict=True):
        assert cosine(row, by_autograd(embedded.model, checkpoint.factors, sequence)) >= 0.99999
    short = embedded.gradients(members, warm, width=1024, epsilon="outside", seed=0).plain
    error = np.abs(short @ short.T - cosines(found))
    assert error.max() <= 3 / math.sqrt(1024)


def short(part: torch.Tensor, drawn: Sketch) -> torch.Tensor:
    signs = torch.from_numpy(drawn.signs)
    return gradients.folded(gradients.slots(part, drawn) * signs, drawn)


def test_a_sketch_keeps_cosines() -> None:
    width = 512
    exact = by_hooks(student().model, factors(), sequences(40))
    sketched = sum(
        short(part, sketch(part.shape[1], width, 0, name))
        for name, part in zip(
            factors(), exact.split([f.numel() for f in factors().values()], dim=1), strict=True
        )
    )
    pairs = np.triu_indices(40, 1)
    error = (cosines(sketched) - cosines(exact))[pairs]
    assert np.abs(error).max() <= 4 / math.sqrt(width)
    assert np.mean(np.abs(error) <= 3 / math.sqrt(width)) >= 0.99
    assert np.sqrt((error**2).mean()) <= 1.2 / math.sqrt(width)


def cosines(rows):
    unit = torch.nn.functional.normalize(rows.double(), dim=1)
    return (unit @ unit.T).numpy()
