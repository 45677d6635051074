"""iBOT against a slow transcription of its authors' loss, and the traps of its kind."""

import math

import pytest
import torch
import torch.nn.functional as F

from algorithms.dino import DINO
from algorithms.encoders import build_encoder
from algorithms.encoders.transformer import VisionTransformer
from algorithms.ibot import IBOT, block_masks, masked_entropy, most_masked
from algorithms.method import Setting
from algorithms.parts.losses import koleo
from algorithms.training.recipe import effective_hyperparameters
from bench.search.space import load

SETTING = Setting(images=64, image_size=32, batch_size=4, epochs=4)
GIVEN = {
    "temperature": 0.1,
    "teacher_temperature": 0.05,
    "ema_momentum": 0.5,
    "centre_momentum": 0.9,
    "prototypes": 12,
    "projector_hidden": 16,
    "projector_width": 8,
    "local_crops": 2,
    "frozen_share": 0.25,
    "drop_path": 0.0,
    "patch_weight": 2.0,
    "koleo_weight": 0.0,
    "centring": "mean",
}


def ibot(**changes) -> IBOT:
    torch.manual_seed(0)
    method = IBOT(SETTING, IBOT.build_encoder("resnet8", 32), **GIVEN | changes)
    with torch.no_grad():
        method.mask.normal_()
        for parameter in method.student.parameters():  # else student and teacher are the same
            parameter += 0.02 * torch.randn_like(parameter)
    return method


def crops(method: IBOT) -> list[torch.Tensor]:
    return [torch.randn(4, 3, view.size, view.size) for view in method.views]


def masks_of(method: IBOT, views: list[torch.Tensor], seed: int) -> torch.Tensor:
    torch.manual_seed(seed)
    return block_masks(2 * len(views[0]), method.side, views[0].device)


def softmax(values: torch.Tensor, temperature: float) -> list[float]:
    exponents = [math.exp(value / temperature) for value in values.tolist()]
    return [exponent / sum(exponents) for exponent in exponents]


def entropy(teacher: torch.Tensor, student: torch.Tensor) -> float:
    return -sum(p * math.log(q) for p, q in zip(softmax(teacher, 0.05), softmax(student, 0.1), strict=True))


def parts(method: IBOT, views: list[torch.Tensor], masked: torch.Tensor) -> tuple[float, float]:
    """The loss on class tokens, and on masked patches, transcribed from the authors' iBOTLoss."""
    (encoder, head, last), (teacher, teacher_head, teacher_last) = method.student, method.teacher
    with torch.no_grad():
        whole = torch.cat(views[:2])
        tokens, local = encoder.tokens(whole, masked=masked, mask=method.mask), encoder(torch.cat(views[2:]))
        student = last(head(torch.cat([tokens[:, 0], local]))).double().unflatten(0, (len(views), 4))
        student_patches = last(head(tokens[:, 1:])).double()
        targets = teacher_last(teacher_head(teacher.tokens(whole))).double()
    classes = (targets[:, 0] - method.centre.double()).unflatten(0, (2, 4))
    patches = targets[:, 1:] - method.patch_centre.double()
    pairs = [(q, v) for q in range(2) for v in range(len(views)) if v != q]
    on_classes = sum(entropy(classes[q, i], student[v, i]) for q, v in pairs for i in range(4)) / 4 / len(pairs)
    on_patches = 0.0
    for view in range(8):
        places = masked[view].nonzero()[:, 0].tolist()
        terms = [entropy(patches[view, place], student_patches[view, place]) for place in places]
        on_patches += sum(terms) / max(len(terms), 1) / 8
    return on_classes, on_patches


def test_the_loss_is_dinos_on_class_tokens_and_the_same_on_the_masked_patches_of_a_view():
    method = ibot()
    method.centre.copy_(torch.randn(12) / 10)
    method.patch_centre.copy_(torch.randn(12) / 10)
    views = crops(method)
    masked = masks_of(method, views, 5)
    on_classes, on_patches = parts(method, views, masked)
    torch.manual_seed(5)
    found = method.loss(views, torch.arange(4))
    assert found.item() == pytest.approx(on_classes + 2.0 * on_patches, rel=1e-4)
    assert on_patches > 0.01


def test_koleo_is_added_for_each_view_apart_on_the_students_class_tokens():
    method, views = ibot(koleo_weight=0.3), crops(ibot())
    plain = ibot()
    masked = masks_of(method, views, 5)
    tokens = method.encoder.tokens(torch.cat(views[:2]), masked=masked, mask=method.mask)[:, 0].detach().double()
    spread = 0.0
    for view in tokens.chunk(2):
        z = F.normalize(view, dim=1)
        nearest = [min(float((z[i] - z[j]).norm()) for j in range(4) if j != i) for i in range(4)]
        spread -= sum(map(math.log, nearest)) / 4
    losses = []
    for each in (method, plain):
        torch.manual_seed(5)
        losses.append(each.loss(views, torch.arange(4)).item())
    assert losses[0] - losses[1] == pytest.approx(0.3 * spread, rel=1e-3)


def test_koleo_leaves_out_the_row_itself_and_has_a_finite_gradient_where_rows_are_the_same():
    features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0]], requires_grad=True)
    loss = koleo(features)
    loss.backward()
    assert loss.item() == pytest.approx(-(2 * math.log(2e-8) + math.log(2**0.5)) / 3, abs=0.3)
    assert torch.isfinite(features.grad).all()
    far = torch.eye(3)
    assert koleo(far).item() == pytest.approx(-math.log(2**0.5), rel=1e-5)
    assert koleo(7 * far) == koleo(far)


def test_koleo_is_computed_in_full_precision():
    features = torch.randn(8, 5).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = koleo(features)
    assert found.dtype == torch.float32
    assert found == koleo(features.float())


def test_masked_entropy_counts_hidden_patches_alone_and_views_without_a_mask_as_nothing():
    logits, targets = torch.randn(2, 3, 5), torch.randn(2, 3, 5).softmax(2)
    hidden = torch.tensor([[True, False, True], [False, False, False]])
    each = -(targets * logits.log_softmax(2)).sum(2)
    assert masked_entropy(logits, targets, hidden).item() == pytest.approx((each[0, 0] + each[0, 2]).item() / 4)


def test_half_of_the_views_have_a_rectangle_hidden_of_a_tenth_to_a_half_of_the_patches():
    torch.manual_seed(0)
    masked = block_masks(400, 8, torch.device("cpu")).view(400, 8, 8)
    counts = masked.flatten(1).sum(1)
    some = masked[counts > 0]
    assert len(some) == 200
    assert counts.max() <= most_masked(8) == 32
    assert some.flatten(1).sum(1).min() >= 4
    assert 0.2 < some.float().mean() < 0.35
    for one in some:
        rows, columns = one.any(1), one.any(0)
        assert torch.equal(one, rows[:, None] & columns)
        for line in (rows, columns):
            assert line.long().diff().abs().sum() <= 2
    assert some.float().mean(0).min() > 0.02  # no place is spared
    assert len({tuple(one.flatten().tolist()) for one in some}) > 100


@pytest.mark.parametrize("side", [1, 2, 3, 4, 14])
def test_no_mask_hides_more_than_the_most(side):
    masked = block_masks(500, side, torch.device("cpu"))
    assert masked.shape == (500, side**2)
    assert 0 < masked.sum(1).max() <= most_masked(side)


def test_the_teacher_sees_whole_views_alone_and_gets_no_gradient():
    method = ibot()
    seen = {"student": [], "teacher": []}
    for name in seen:
        encoder = getattr(method, name)[0]
        encoder.patches.register_forward_hook(lambda module, inputs, output, name=name: seen[name].append(output))
        encoder.blocks.register_forward_pre_hook(lambda module, inputs, name=name: seen[name].append(inputs[0]))
    method.loss(crops(method), torch.arange(4)).backward()
    shown, tokens = seen["teacher"]
    expected = shown.flatten(2).transpose(1, 2) + method.teacher[0].positions[:, 1:]
    torch.testing.assert_close(tokens[:, 1:], expected)
    shown, tokens = seen["student"][:2]
    expected = shown.flatten(2).transpose(1, 2) + method.encoder.positions[:, 1:]
    other = (tokens[:, 1:] - expected).abs().amax(2) > 1e-5
    assert 0 < other.any(1).sum() <= 4
    assert all(parameter.grad is None for parameter in method.teacher.parameters())
    assert all(parameter.grad is not None for parameter in method.student.parameters())
    assert method.mask.grad.any()


def test_the_student_alone_drops_paths():
    method = ibot(drop_path=0.3)
    assert [block.drop_path for block in method.encoder.blocks.layers] == pytest.approx([0.06 * d for d in range(6)])
    assert not any(block.drop_path for block in method.teacher[0].blocks.layers)


def test_the_centres_of_classes_and_of_hidden_patches_are_separate_and_follow_after_the_loss():
    method = ibot()
    views = crops(method)
    masked = masks_of(method, views, 5)
    with torch.no_grad():
        encoder, head, last = method.teacher
        scores = last(head(encoder.tokens(torch.cat(views[:2]))))
    torch.manual_seed(5)
    method.loss(views, torch.arange(4))
    torch.testing.assert_close(method.centre, 0.1 * scores[:, 0].mean(0), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(method.patch_centre, 0.1 * scores[:, 1:][masked].mean(0), rtol=1e-4, atol=1e-6)
    assert {"centre", "patch_centre", "mask"} <= method.state_dict().keys()


def test_sinkhorn_shares_out_what_is_hidden_and_nothing_else():
    method = ibot(centring="sinkhorn")
    scores, hidden = torch.randn(4, 6, 12) / 5, torch.rand(4, 6) < 0.5
    found = method.targets(scores, hidden, method.patch_centre)
    alone = method.targets(scores[hidden], torch.ones(int(hidden.sum()), dtype=torch.bool), method.patch_centre)
    torch.testing.assert_close(found[hidden], alone)
    torch.testing.assert_close(alone.sum(1), torch.ones(len(alone)))
    assert not found[~hidden].any()
    assert not method.patch_centre.any()
    loss = method.loss(crops(method), torch.arange(4))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(parameter.grad).all() for parameter in method.student.parameters())


def test_an_unknown_centring_and_a_network_without_patches_are_refused():
    with pytest.raises(ValueError, match="no centring 'median'"):
        ibot(centring="median")
    with pytest.raises(ValueError, match="needs a vision transformer"):
        IBOT(SETTING, build_encoder("resnet8", 32), **GIVEN)


@pytest.mark.parametrize(("asked", "width"), [("resnet8", 64), ("resnet18", 192), ("vit_pico", 64)])
def test_it_brings_a_vision_transformer_unless_the_runs_is_one(asked, width):
    found = IBOT.build_encoder(asked, 32)
    assert isinstance(found, VisionTransformer)
    assert found.width == width


def test_the_teacher_and_its_head_are_dinos_and_are_judged():
    method = ibot()
    assert issubclass(IBOT, DINO)
    assert method.judged_encoder is method.teacher[0]
    before = [parameter.clone() for parameter in method.teacher.parameters()]
    method.after_step(torch.tensor(0.5))
    assert any(not torch.equal(a, b) for a, b in zip(before, method.teacher.parameters(), strict=True))


def test_there_are_no_more_prototypes_than_images():
    asked = load("ibot", 32).defaults
    cut = effective_hyperparameters(IBOT, asked, width=64, images=300)
    assert cut["prototypes"] == 300
    assert effective_hyperparameters(IBOT, asked, width=64, images=50_000)["prototypes"] == asked["prototypes"]
