"""Linear layers through oneDNN: PyTorch's answers, and its own way for all that oneDNN is not for."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'local'")

from torch.nn.functional import linear  # noqa: E402

from treadle.models import linear as quick  # noqa: E402
from treadle.models.linear import Linear, product, quicken  # noqa: E402

needs_onednn = pytest.mark.skipif(not quick.has_onednn(), reason="this PyTorch has no oneDNN")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes that went to oneDNN."""
    seen: list[tuple[int, ...]] = []
    real = quick._onednn

    def count(x, weight, bias):  # type: ignore[no-untyped-def]
        seen.append(tuple(x.shape))
        return real(x, weight, bias)

    monkeypatch.setattr(quick, "_onednn", count)
    return seen


@needs_onednn
@pytest.mark.parametrize(("inputs", "outputs"), [(48, 8), (8, 48), (33, 70)])
@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("has_bias", [True, False])
def test_values_and_gradients_are_those_of_pytorch(
    calls: list[tuple[int, ...]],
    shape: tuple[int, ...],
    inputs: int,
    outputs: int,
    has_bias: bool,
) -> None:
    torch.manual_seed(0)
    sizes = [(*shape, inputs), (outputs, inputs), *([(outputs,)] if has_bias else [])]
    given = [torch.randn(size, requires_grad=True) for size in sizes]
    toward = torch.randn(*shape, outputs)
    mine = product(*given)
    assert calls == [(*shape, inputs)]
    theirs = linear(*given)
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
    found = torch.autograd.grad((mine * toward).sum(), given)
    expected = torch.autograd.grad((theirs * toward).sum(), given)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    assert len(calls) == 3


@needs_onednn
def test_transposed_and_expanded_tensors_are_read_right() -> None:
    x = torch.randn(5, 3, 16, requires_grad=True)
    weight = torch.randn(16, 9, requires_grad=True)
    toward = torch.randn(9).expand(3, 5, 9)
    found, expected = (
        torch.autograd.grad(f(x.transpose(0, 1), weight.T), (x, weight), toward)
        for f in (product, linear)
    )
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@needs_onednn
def test_only_what_is_asked_for_is_computed(calls: list[tuple[int, ...]]) -> None:
    x, weight = torch.randn(4, 16, requires_grad=True), torch.randn(9, 16)
    product(x, weight).sum().backward()
    assert len(calls) == 2  # forward, and the gradient of x: the weight is frozen
    assert x.grad is not None


@pytest.mark.parametrize(
    ("x", "weight"),
    [
        (torch.randn(4, 16).bfloat16(), torch.randn(9, 16).bfloat16()),
        (torch.randn(4, 16).double(), torch.randn(9, 16).double()),
        (torch.randn(16), torch.randn(9, 16)),
        (torch.randn(0, 16), torch.randn(9, 16)),
        (torch.randn(4, 16, device="meta"), torch.randn(9, 16, device="meta")),
    ],
    ids=["bf16", "double", "one vector", "no rows", "another device"],
)
def test_the_rest_goes_pytorchs_own_way(
    calls: list[tuple[int, ...]], x: torch.Tensor, weight: torch.Tensor
) -> None:
    found = product(x, weight)
    assert calls == []
    assert found.shape == (*x.shape[:-1], 9)
    assert found.dtype is x.dtype
    if x.device.type == "cpu":
        assert torch.equal(found, linear(x, weight))


@pytest.mark.parametrize(
    "bias", [torch.randn(9, 2)[:, 0], torch.randn(1).expand(9)], ids=["with a stride", "expanded"]
)
def test_a_bias_whose_numbers_do_not_lie_side_by_side_is_read_right(bias: torch.Tensor) -> None:
    x, weight = torch.randn(3, 16), torch.randn(9, 16)
    torch.testing.assert_close(product(x, weight, bias), linear(x, weight, bias))


def test_what_does_not_fit_gets_pytorchs_own_message() -> None:
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        product(torch.randn(3, 15), torch.randn(9, 16))


def test_onednn_can_be_turned_off(calls: list[tuple[int, ...]]) -> None:
    with torch.backends.mkldnn.flags(enabled=False):
        product(torch.randn(3, 16), torch.randn(9, 16))
    assert calls == []


def test_an_automatic_cast_is_obeyed(calls: list[tuple[int, ...]]) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert product(torch.randn(4, 16), torch.randn(9, 16)).dtype is torch.bfloat16
    assert calls == []


@needs_onednn
def test_a_model_keeps_its_weights_names_hooks_and_other_layers(
    calls: list[tuple[int, ...]],
) -> None:
    class Own(torch.nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + 1

    model = torch.nn.Sequential(torch.nn.Linear(16, 9), torch.nn.ReLU(), Own(9, 4))
    before, weights = model, {k: v.clone() for k, v in model.state_dict().items()}
    model[0].register_forward_hook(lambda *parts: 2 * parts[-1])
    x = torch.randn(4, 16)
    expected = model(x)
    assert quicken(model) is before
    assert [type(layer) for layer in model] == [Linear, torch.nn.ReLU, Own]
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())
    torch.testing.assert_close(copy.deepcopy(model)(x), expected, rtol=1e-5, atol=1e-5)
    assert calls == [(4, 16)]


@needs_onednn
def test_two_rows_or_more_do_not_depend_on_their_neighbours() -> None:
    x, weight = torch.randn(70, 96), torch.randn(40, 96)
    whole = product(x, weight)
    for rows in (2, 7, 16, 33):
        assert torch.equal(product(x[:rows], weight), whole[:rows])
