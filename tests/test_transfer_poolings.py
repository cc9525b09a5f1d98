"""Attentive poolings against their sources' formulas, token by token in float64, and against known answers."""

import math

import pytest
import torch
from torch.nn import functional

from twinbench.protocols.kinds.poolings import POOLING, pooling_form
from twinbench.transfer.poolings import (
    AimPooling,
    CapiPooling,
    EfficientPooling,
    JepaPooling,
    PoolingError,
    all_gathered,
    gathered,
    make_pooling,
)

IMAGES, TOKENS, WIDTH = 2, 5, 128


def drawn(*shape, seed=0, scale=1.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moved(name, seed=1):
    """Return a pooling in float64 with every parameter away from where it starts, so that none can hide."""
    pooling = make_pooling(name, WIDTH, torch.Generator().manual_seed(seed)).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for values in pooling.parameters():
            values.add_(0.2 * torch.randn(values.shape, generator=generator, dtype=torch.float64))
    return pooling


def softmax(logits):
    largest = max(logits)
    powers = [math.exp(value - largest) for value in logits]
    return [power / sum(powers) for power in powers]


@torch.no_grad()
def attended(query, keys, values, heads):
    """Return what one query (C,) gathers from values (T, C) by its products with keys (T, C), head by head."""
    width = len(query) // heads
    parts = []
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        logits = [float(query[own] @ key[own]) / math.sqrt(width) for key in keys]
        weights = softmax(logits)
        parts.append(sum(weight * value[own] for weight, value in zip(weights, values, strict=True)))
    return torch.cat(parts)


def assert_equal(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


# --- each is its source's formula ---


@pytest.mark.parametrize("queries", [1, 4, 32])
def test_efficient_probing_takes_tokens_for_keys_and_a_part_of_the_values_for_each_query(queries):
    pooling, tokens = moved(f"ep-{queries}"), drawn(IMAGES, TOKENS, WIDTH)
    assert isinstance(pooling, EfficientPooling)
    part = WIDTH // queries
    for image, found in zip(tokens, pooling(tokens), strict=True):
        values = image @ pooling.value.T  # (T, C)
        expected = []
        for number, query in enumerate(pooling.query.detach()):
            weights = softmax([float(query @ token) / math.sqrt(WIDTH) for token in image])
            own = values[:, number * part : (number + 1) * part]
            expected.append(sum(weight * value for weight, value in zip(weights, own, strict=True)))
        assert_equal(found, torch.cat(expected))


def test_capi_projects_keys_and_values_with_biases_in_heads_of_64():
    pooling, tokens = moved("capi"), drawn(IMAGES, TOKENS, WIDTH)
    assert isinstance(pooling, CapiPooling)
    key_bias = drawn(WIDTH, seed=2)  # of no consequence: the same for every token
    for image, found in zip(tokens, pooling(tokens), strict=True):
        keys, values = image @ pooling.key.T + key_bias, image @ pooling.value.T + pooling.bias
        assert_equal(found, attended(pooling.query[0], keys, values, WIDTH // 64))


@pytest.mark.parametrize("heads", [1, 8])
def test_aim_projects_keys_and_values_without_biases(heads):
    pooling, tokens = moved(f"aim-{heads}"), drawn(IMAGES, TOKENS, WIDTH)
    assert isinstance(pooling, AimPooling)
    for image, found in zip(tokens, pooling(tokens), strict=True):
        assert_equal(found, attended(pooling.query[0], image @ pooling.key.T, image @ pooling.value.T, heads))


@pytest.mark.parametrize("heads", [2, 16])
def test_v_jepa_adds_attention_and_a_perceptron_to_its_token(heads):
    pooling, tokens = moved(f"jepa-{heads}"), drawn(IMAGES, TOKENS, WIDTH)
    assert isinstance(pooling, JepaPooling)
    key_bias = drawn(WIDTH, seed=2)
    standardised = functional.layer_norm(tokens, (WIDTH,))
    for image, found in zip(tokens, pooling(standardised), strict=True):
        normed = functional.layer_norm(image, (WIDTH,), pooling.scale, pooling.shift, eps=1e-5)
        query = pooling.token[0] @ pooling.query.weight.T + pooling.query.bias
        keys, values = normed @ pooling.key.T + key_bias, normed @ pooling.value.weight.T + pooling.value.bias
        row = pooling.token[0] + attended(query, keys, values, heads)
        norm = pooling.perceptron_norm
        hidden = functional.layer_norm(row, (WIDTH,), norm.weight, norm.bias, eps=1e-5) @ pooling.first.weight.T
        hidden = hidden + pooling.first.bias
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
        assert_equal(found, row + hidden @ pooling.second.weight.T + pooling.second.bias)


@pytest.mark.parametrize("name", ["capi", "aim-2", "jepa-2"])
def test_gradients_are_those_of_attention_that_projects_every_token(name):
    """The folded form is another road to the same function: PyTorch's own attention gives the same slopes."""
    pooling, tokens = moved(name), drawn(IMAGES, TOKENS, WIDTH)
    slopes = torch.autograd.grad(pooling(tokens).square().sum(), list(pooling.parameters()))
    expected = torch.autograd.grad(by_pytorch(pooling, tokens).square().sum(), list(pooling.parameters()))
    for found, wanted in zip(slopes, expected, strict=True):
        assert_equal(found, wanted)


def by_pytorch(pooling, tokens):
    """Return a pooling of one query of two heads by scaled_dot_product_attention."""
    is_jepa = isinstance(pooling, JepaPooling)
    given = tokens * pooling.scale + pooling.shift if is_jepa else tokens
    value = pooling.value.weight if is_jepa else pooling.value
    bias = pooling.value.bias if is_jepa else getattr(pooling, "bias", 0.0)
    query = pooling.query(pooling.token) if is_jepa else pooling.query
    q, k, v = query.expand(len(tokens), 1, WIDTH), given @ pooling.key.T, given @ value.T + bias
    cut = [each.unflatten(2, (2, -1)).transpose(1, 2) for each in (q, k, v)]
    rows = functional.scaled_dot_product_attention(*cut).flatten(1)
    if not is_jepa:
        return rows
    rows = pooling.token + rows
    return rows + pooling.second(functional.gelu(pooling.first(pooling.perceptron_norm(rows))))


# --- known answers ---


def test_directions_of_nothing_are_the_mean():
    tokens = drawn(IMAGES, TOKENS, WIDTH)
    found = gathered(tokens, torch.zeros(3, WIDTH, dtype=torch.float64))
    assert_equal(found, tokens.mean(1, keepdim=True).expand(IMAGES, 3, WIDTH))


def test_a_direction_that_one_token_answers_alone_is_that_token():
    tokens = torch.zeros(1, WIDTH, WIDTH, dtype=torch.float64)
    tokens[0] = torch.eye(WIDTH)
    directions = 1000 * torch.eye(WIDTH, dtype=torch.float64)[[7, 3]]
    assert_equal(gathered(tokens, directions)[0], torch.eye(WIDTH, dtype=torch.float64)[[7, 3]])


@pytest.mark.parametrize("name", ["ep-32", "capi", "aim"])
def test_queries_of_zero_project_the_mean_of_the_tokens(name):
    pooling, tokens = moved(name), drawn(IMAGES, TOKENS, WIDTH)
    with torch.no_grad():
        pooling.query.zero_()
    assert_equal(pooling(tokens), tokens.mean(1) @ pooling.value.T + getattr(pooling, "bias", 0.0))


@pytest.mark.parametrize("name", ["ep-4", "capi", "aim", "jepa"])
def test_the_order_of_tokens_is_of_no_consequence(name):
    pooling, tokens = moved(name), drawn(IMAGES, TOKENS, WIDTH)
    assert_equal(pooling(tokens.flip(1)), pooling(tokens))


def test_poolings_side_by_side_give_what_each_gives_alone():
    poolings = [moved(name, seed) for seed, name in enumerate(["ep-4", "capi", "ep-32", "capi"])]
    tokens = drawn(IMAGES, TOKENS, WIDTH)
    for pooling, found in zip(poolings, all_gathered(poolings, tokens), strict=True):
        assert_equal(found, pooling(tokens))


# --- how they start ---


@pytest.mark.parametrize("name", ["ep", "capi", "aim", "jepa"])
def test_a_seed_is_a_start(name):
    first, again, other = (make_pooling(name, WIDTH, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    states = [torch.cat([values.flatten() for values in each.parameters()]) for each in (first, again, other)]
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


@pytest.mark.parametrize(
    ("name", "parameter", "deviation"),
    [
        ("ep", "query", 0.02),
        ("ep", "value", 1 / math.sqrt(3 * 1024)),  # PyTorch's: uniform within 1 / root of the width
        ("capi", "query", 0.02),
        ("capi", "key", 0.02),
        ("capi", "value", 0.02),
        ("capi", "bias", 0.0),
        ("aim", "query", 0.02),
        ("aim", "key", 1 / math.sqrt(3 * 1024)),
        ("aim", "value", 1 / math.sqrt(3 * 1024)),
        ("jepa", "token", 0.02),
        ("jepa", "query.weight", 0.02),
        ("jepa", "key", 0.02),
        ("jepa", "value.weight", 0.02),
        ("jepa", "value.bias", 0.0),
        ("jepa", "first.weight", 0.02),
        ("jepa", "second.weight", 0.02 / math.sqrt(2)),
        ("jepa", "scale", 0.0),
    ],
)
def test_parameters_start_as_the_sources_do(name, parameter, deviation):
    pooling = make_pooling(name, 1024, torch.Generator().manual_seed(0))
    values = dict(pooling.named_parameters())[parameter].detach()
    assert float(values.std()) == pytest.approx(deviation, rel=0.08)


def test_a_head_is_of_the_size_that_the_sources_log_says():
    """Efficient probing's logs/mae_base/ep.txt: "Trainable Parameters: 1,383,400", of a ViT-B and 1,000 classes."""
    pooling = make_pooling("ep", 768, torch.Generator())
    assert parameters(pooling) + parameters(torch.nn.Linear(pooling.width, 1000)) == 1_383_400


def test_a_source_s_count_of_parameters():
    """Of a ViT-B's 768: EP's own count at 32 queries is queries and one product; V-JEPA's block is 4 + 8 of them."""
    counts = {name: parameters(make_pooling(name, 768, torch.Generator())) for name in ("ep", "capi", "aim", "jepa")}
    assert counts["ep"] == 32 * 768 + 768**2
    assert counts["aim"] == 768 + 2 * 768**2
    assert counts["capi"] == 768 + 2 * 768**2 + 768  # the source's key bias is left out
    block = (768**2 + 768) + 768**2 + (768**2 + 768) + 2 * 768  # q, k without its bias, v, the norm of tokens
    perceptron = 2 * 768 + 2 * 4 * 768**2 + 4 * 768 + 768
    assert counts["jepa"] == 768 + block + perceptron


def parameters(pooling):
    return sum(values.numel() for values in pooling.parameters())


# --- names ---


@pytest.mark.parametrize(
    ("name", "count"),
    [("ep", 32), ("ep-8", 8), ("aim-12", 12), ("jepa-16", 16), ("aim", 12), ("jepa", 12), ("capi", 12)],
)
def test_a_name_says_how_many_means_it_takes(name, count):
    form = pooling_form(name)
    assert form is not None
    assert form.directions(768) == count


@pytest.mark.parametrize("word", ["", "EP", "ep-0", "ep-", "capi-2", "attention", "jepa-1000"])
def test_words_that_are_no_poolings(word):
    assert not POOLING.holds(word)


def test_a_word_that_is_no_pooling_is_told():
    with pytest.raises(PoolingError, match=r"pooling map: expected ep, ep-32 \(its queries\), capi, aim"):
        make_pooling("map", WIDTH, torch.Generator())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ep", "pooling ep-32 on 130 channels: each query has an equal part of them; .* for example ep-26"),
        ("capi", "pooling capi on 130 channels: its heads are 64 wide; .* for example aim-13"),
        ("aim-12", "pooling aim-12 on 130 channels: heads are of one width; .* for example aim-13"),
        ("jepa-4", "pooling jepa-4 on 130 channels: heads are of one width; .* for example jepa-13"),
    ],
)
def test_tokens_that_cannot_be_shared_out_are_told(name, message):
    with pytest.raises(PoolingError, match=message):
        make_pooling(name, 130, torch.Generator())
