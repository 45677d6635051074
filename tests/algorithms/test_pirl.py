import math

import pytest
import torch
import torch.nn.functional as F

from algorithms.encoders import build_encoder
from algorithms.images.augment import augment, unaugmented
from algorithms.images.statistics import IMAGENET
from algorithms.images.store import pack
from algorithms.images.view import View
from algorithms.method import Setting
from algorithms.pirl import PIRL, cut, noise_contrastive

NORMALISER = IMAGENET.on("cpu")


def make(images=64, size=16, encoder="resnet8", **changes) -> PIRL:
    torch.manual_seed(0)
    setting = Setting(images=images, image_size=size, batch_size=8, epochs=2)
    given = {
        "temperature": 0.07,
        "negatives": 32,
        "bank_momentum": 0.5,
        "jigsaw_weight": 0.5,
        "projector_width": 16,
    }
    return PIRL(setting, build_encoder(encoder, size), **given | changes)


def batch(method: PIRL, count=8):
    return [torch.randn(count, 3, view.size, view.size) for view in method.views], torch.arange(count) * 3


def slow(output, positive, negatives, own, temperature):
    """Eq. 4 and 5, sample by sample."""
    total = 0.0
    for b in range(len(output)):
        f = output[b] / output[b].norm()
        exp = [math.exp(float(f @ positive[b]) / temperature)]
        exp += [math.exp(float(f @ negatives[k]) / temperature) for k in range(len(negatives)) if not own[b, k]]
        h = [e / sum(exp) for e in exp]
        total -= math.log(h[0]) + sum(math.log(1 - x) for x in h[1:])
    return total / len(output)


def test_loss_is_equation_5():
    generator = torch.Generator().manual_seed(1)
    output = torch.randn(6, 5, dtype=torch.float64, generator=generator)
    positive, negatives = (
        F.normalize(torch.randn(n, 5, dtype=torch.float64, generator=generator), dim=1) for n in (6, 9)
    )
    own = torch.rand(6, 9, generator=generator) < 0.2
    for temperature in (0.07, 0.5):
        found = noise_contrastive(output, positive, negatives, own, temperature)
        assert found.item() == pytest.approx(slow(output, positive, negatives, own, temperature), abs=1e-5)
    output.requires_grad_()
    assert torch.autograd.gradcheck(lambda o: noise_contrastive(o, positive, negatives, own, 0.3), output)


def test_loss_is_finite_where_a_negative_takes_all():
    one = torch.eye(4)
    loss = noise_contrastive(one[:1].requires_grad_(), one[1:2], one[:1], torch.tensor([[False]]), 0.01)
    assert torch.isfinite(loss)


def test_negatives_meet_the_network_output_and_bank_vectors_have_no_gradient():
    output = torch.randn(4, 5, requires_grad=True)
    positive, negatives = F.normalize(torch.randn(4, 5), dim=1), F.normalize(torch.randn(6, 5), dim=1)
    own = torch.zeros(4, 6, dtype=torch.bool)
    # Without a positive the negatives alone move the output.
    noise_contrastive(output, positive * 0, negatives, own, 0.1).backward()
    assert output.grad.abs().sum() > 0
    assert not make().bank.vectors.requires_grad


def test_patches_are_encoded_by_themselves_in_one_batch_besides_the_image():
    method = make()
    sizes = []
    method.encoder.register_forward_pre_hook(lambda _, inputs: sizes.append(tuple(inputs[0].shape)))
    method.loss(*batch(method))
    assert sizes == [(8, 3, 16, 16), (8 * 4, 3, 8, 8)]


@pytest.mark.parametrize(("size", "grid", "patch"), [(16, 2, 8), (32, 2, 16), (224, 3, 64)])
def test_grid_and_patch_fit_the_image(size, grid, patch):
    method = make(size=size)
    assert (method.grid, method.patch, method.views[1].size % grid) == (grid, patch, 0)
    assert method.views[1].size >= grid * patch


@pytest.mark.parametrize(("size", "patch"), [(28, 16), (32, 16), (96, 32), (224, 64)])
def test_a_vit_sees_the_whole_of_every_patch(size, patch):
    with torch.device("meta"):
        method = make(size=size, encoder="vit_tiny")
    assert method.patch == patch
    assert method.patch % method.encoder.patches.kernel_size[0] == 0
    assert method.views[1].size >= method.grid * patch


def test_every_patch_is_flipped_and_coloured_by_itself_and_the_board_is_not():
    torch.manual_seed(0)
    method = make()
    one_colour = torch.tensor([200, 120, 40], dtype=torch.uint8)[:, None, None].expand(64, 3, 16, 16)
    _, board = augment(pack(one_colour), method.views, NORMALISER)
    torch.testing.assert_close(board, unaugmented(pack(one_colour[:1]), NORMALISER)[..., :1, :1].expand_as(board))
    ramp = torch.linspace(-1, 1, board.shape[-1]).expand_as(board)
    _, second = augment(pack((torch.arange(16) * 15).to(torch.uint8).expand_as(one_colour)), method.views, NORMALISER)
    assert bool((second.diff(dim=-1) > -1e-4).all())

    seen = []
    method.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].unflatten(0, (64, 4))))
    method.eval().jigsaw(board)
    method.jigsaw(ramp)
    colours = seen[0].mean((3, 4))
    distance = torch.cdist(colours, colours) + 10 * torch.eye(4)
    assert (distance > 1e-3).float().mean() > 0.9  # of the four patches of one image, too
    flipped = seen[1][..., 0].mean((2, 3)) > seen[1][..., -1].mean((2, 3))
    assert 0.35 < flipped.float().mean() < 0.65
    assert 0 < int((flipped[:, 0] != flipped[:, 1]).sum()) < 64


def test_patches_are_pixels_of_their_cells_at_places_of_their_own():
    torch.manual_seed(0)
    side, grid, patch = 22, 2, 8
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    view = torch.stack([row, column]).float().expand(50, -1, -1, -1)
    patches = cut(view, grid, patch)
    assert patches.shape == (50, 4, 2, patch, patch)
    corners = patches[..., 0, 0]  # row and column of the first pixel
    for number in range(4):
        start = torch.tensor([number // 2 * 11.0, number % 2 * 11.0])
        shift = corners[:, number] - start
        assert shift.min() == 0
        assert shift.max() == 3
        expected = corners[:, number, :, None, None] + torch.stack([row, column])[:, :patch, :patch]
        assert torch.equal(patches[:, number], expected)
    assert len({tuple(place) for place in (corners[:, 0]).tolist()}) > 8


def test_every_image_has_an_order_of_its_own():
    torch.manual_seed(0)
    method = make()
    orders = []
    method.jigsaw_head.register_forward_pre_hook(lambda _, inputs: orders.append(inputs[0].unflatten(1, (4, -1))))
    # Patches that differ, alike for all images: cell n holds the number n everywhere.
    side = method.views[1].size
    number = torch.arange(2).repeat_interleave(side // 2)
    board = (number[:, None] * 2 + number).float().expand(8, 3, side, side)
    method.patch_view = View(method.patch, scale=None, flip=0.0, jitter_probability=0.0, grayscale=0.0)
    method.eval()
    method.jigsaw(board)
    places = {tuple(torch.cdist(image, orders[0][0]).argmin(1).tolist()) for image in orders[0]}
    assert len(places) > 3
    for place in places:
        assert sorted(place) == [0, 1, 2, 3]


def test_bank_follows_the_image_embedding_after_the_loss_by_index():
    method = make()
    views, index = batch(method)
    with torch.no_grad():
        expected = method.bank.vectors.clone()
        method.train()
        embedding = F.normalize(method.image_head(method.encoder(views[0])), dim=1)
    expected[index] = F.normalize(0.5 * expected[index] + 0.5 * embedding, dim=1)
    torch.manual_seed(3)
    method.loss(views, index)
    torch.testing.assert_close(method.bank.vectors, expected)
    torch.testing.assert_close(method.bank.vectors.norm(dim=1), torch.ones(64))


def test_loss_uses_the_bank_as_it_was_before_the_update():
    views, index = batch(make())
    torch.manual_seed(3)
    slow_bank = make(bank_momentum=0.999999).loss(views, index)
    torch.manual_seed(3)
    fast_bank = make(bank_momentum=0.0).loss(views, index)
    assert slow_bank.item() == fast_bank.item()


def test_an_image_is_no_negative_of_itself():
    # With a bank of the one image, every draw is the positive: nothing remains to be told apart.
    method = make(images=1)
    views = [torch.randn(1, 3, view.size, view.size) for view in method.views]
    assert method.eval().loss(views, torch.zeros(1, dtype=torch.long)).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_jigsaw_weight_shares_the_loss_between_the_heads(weight):
    method = make(jigsaw_weight=weight)
    method.loss(*batch(method)).backward()
    jigsaw, image = method.jigsaw_head.weight.grad, method.image_head.weight.grad
    assert bool(jigsaw.abs().sum() > 0) == (weight == 1)
    assert bool(image.abs().sum() > 0) == (weight == 0)


def test_the_bank_is_filled_before_the_first_epoch_and_never_again():
    method = make()
    images = torch.randn(64, 3, 16, 16)

    def batches():
        return ((index, images[index]) for index in torch.arange(64).split(32))

    with torch.no_grad():
        expected = torch.cat([method.image_head(method.encoder(part)) for part in images.split(32)])
    method.before_epoch(0, batches)
    torch.testing.assert_close(method.bank.vectors, F.normalize(expected, dim=1))
    before = method.bank.vectors.clone()
    method.before_epoch(1, batches)
    assert torch.equal(method.bank.vectors, before)
