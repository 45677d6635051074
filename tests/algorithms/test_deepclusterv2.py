"""DeepCluster-v2 against its authors' loss and clustering, and the traps of its kind."""

import math

import pytest
import torch
import torch.nn.functional as F

from algorithms import deepclusterv2
from algorithms.deepclusterv2 import DeepClusterV2, nearest, spherical_kmeans
from algorithms.encoders import build_encoder
from algorithms.method import Setting
from bench.search.space import load


def make(images: int = 40, **changes) -> DeepClusterV2:
    torch.manual_seed(0)
    hyperparameters = {
        "temperature": 0.1,
        "prototypes": 6,
        "heads": 3,
        "kmeans_iterations": 4,
        "projector_hidden": 16,
        "projector_width": 8,
        "local_crops": 2,
    }
    setting = Setting(images=images, image_size=16, batch_size=8, epochs=4)
    return DeepClusterV2(setting, build_encoder("resnet8", 16), **hyperparameters | changes)


def over(images):
    """A pass over `images` as a trainer gives it."""
    return lambda: ((index, images[index]) for index in torch.arange(len(images)).split(20))


def crops(method: DeepClusterV2) -> list[torch.Tensor]:
    return [torch.randn(8, 3, view.size, view.size) for view in method.views]


def embeddings(method: DeepClusterV2, views: list[torch.Tensor]) -> torch.Tensor:
    """The views' normalised projections [V, B, D], as in training."""
    with torch.no_grad():
        features = torch.cat([method.encoder(torch.cat(views[:2])), method.encoder(torch.cat(views[2:]))])
        return F.normalize(method.projector(features), dim=1).unflatten(0, (len(views), 8))


def points(count: int, width: int) -> torch.Tensor:
    return F.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(1)), dim=1)


def slow_kmeans(x: list[list[float]], first: list[int], iterations: int):
    """The authors' cluster_memory with loops: centroids, and the cluster of each point."""
    centroids = [x[place] for place in first]

    def closest(point):
        products = [sum(a * b for a, b in zip(point, centroid, strict=True)) for centroid in centroids]
        return max(range(len(products)), key=products.__getitem__)

    for _ in range(iterations):
        labels = [closest(point) for point in x]
        for k in range(len(centroids)):
            members = [point for point, label in zip(x, labels, strict=True) if label == k]
            if members:
                mean = [sum(column) / len(members) for column in zip(*members, strict=True)]
                length = math.sqrt(sum(value * value for value in mean))
                centroids[k] = [value / length for value in mean]
    return centroids, [closest(point) for point in x]


@pytest.mark.parametrize("iterations", [0, 1, 10])
def test_clusters_are_those_of_the_authors_spherical_kmeans(iterations):
    x = points(60, 5)
    torch.manual_seed(4)
    first = torch.randperm(60)[:7].tolist()
    torch.manual_seed(4)
    centroids, labels = spherical_kmeans(x, 7, iterations)
    expected, expected_labels = slow_kmeans(x.double().tolist(), first, iterations)
    torch.testing.assert_close(centroids, torch.tensor(expected))
    assert labels.tolist() == expected_labels


def test_an_empty_cluster_keeps_its_centroid():
    x = points(4, 5).repeat_interleave(5, 0)  # of equal centroids the first takes all points
    torch.manual_seed(0)
    first = x[torch.randperm(20)[:10]]
    torch.manual_seed(0)
    centroids, labels = spherical_kmeans(x, 10, 3)
    empty = torch.bincount(labels, minlength=10) == 0
    assert empty.any()
    torch.testing.assert_close(centroids[empty], first[empty])
    assert centroids.isfinite().all()


def test_no_cluster_holds_points_of_groups_that_are_apart_where_each_group_has_a_first_centroid():
    groups = torch.arange(4).repeat_interleave(25)
    noise = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
    x = F.normalize(torch.eye(4)[groups] + 0.05 * noise, dim=1)
    torch.manual_seed(0)
    assert len(groups[torch.randperm(100)[:20]].unique()) == 4
    torch.manual_seed(0)
    _, labels = spherical_kmeans(x, 20, 10)
    assert all(len(groups[labels == cluster].unique()) == 1 for cluster in labels.unique())


def test_points_are_compared_with_centroids_in_parts_to_the_same_end(monkeypatch):
    x, centroids = points(100, 5), points(7, 5)
    whole = nearest(x, centroids)
    monkeypatch.setattr(deepclusterv2, "CHUNK", 30)
    assert torch.equal(nearest(x, centroids), whole)
    assert torch.equal(whole, (x.double() @ centroids.double().T).argmax(1))


def test_the_loss_is_the_mean_cross_entropy_of_all_views_and_heads_at_the_clusters_of_the_index():
    method, index = make(), torch.tensor([3, 39, 17, 0, 8, 21, 5, 30])
    method.before_epoch(0, over(torch.randn(40, 3, 16, 16)))
    views = crops(method)
    z = embeddings(method, views).double()
    losses = []
    for head in range(3):
        for view in range(4):
            for i, image in enumerate(index.tolist()):
                scores = [float(z[view, i] @ centroid.double()) / 0.1 for centroid in method.centroids[head]]
                right = scores[method.labels[head, image]]
                losses.append(math.log(sum(math.exp(score) for score in scores)) - right)
    assert method.loss(views, index).item() == pytest.approx(sum(losses) / len(losses), rel=1e-4)


def test_the_memory_keeps_the_global_views_of_the_images_that_were_seen_and_no_gradient():
    method, index = make(), torch.arange(8, 16)
    method.before_epoch(0, over(torch.randn(40, 3, 16, 16)))
    before, views = method.memory.clone(), crops(method)
    z = embeddings(method, views)
    method.loss(views, index).backward()
    torch.testing.assert_close(method.memory[:, 8:16], z[:2], rtol=1e-4, atol=1e-5)
    assert torch.equal(method.memory[:, :8], before[:, :8])
    assert torch.equal(method.memory[:, 16:], before[:, 16:])
    assert not method.memory.requires_grad
    torch.testing.assert_close(method.memory.norm(dim=2), torch.ones(2, 40))


def test_heads_cluster_the_views_in_turn():
    method = make()
    method.memory.copy_(torch.stack([points(40, 8), -points(40, 8)]))
    torch.manual_seed(2)
    method.before_epoch(1, over(torch.empty(0)))
    torch.manual_seed(2)
    for head, view in enumerate([0, 1, 0]):
        centroids, labels = spherical_kmeans(method.memory[view], 6, 4)
        assert torch.equal(method.centroids[head], centroids)
        assert torch.equal(method.labels[head], labels)


def test_the_memory_is_filled_once_from_unaugmented_images_in_eval_mode():
    method, images = make(), torch.randn(40, 3, 16, 16)
    parameters = {name: value.clone() for name, value in method.encoder.state_dict().items()}
    method.before_epoch(0, over(images))
    assert method.training
    for name, value in parameters.items():
        assert torch.equal(method.encoder.state_dict()[name], value)
    method.eval()
    with torch.no_grad():
        expected = F.normalize(method.projector(method.encoder(images)), dim=1)
    torch.testing.assert_close(method.memory, expected.expand(2, -1, -1), rtol=1e-4, atol=1e-5)
    method.before_epoch(1, lambda: pytest.fail("a later epoch clusters what the memory has"))


def test_centroids_are_not_trained():
    method = make()
    assert not [name for name, _ in method.named_parameters() if not name.startswith(("encoder.", "projector."))]
    method.before_epoch(0, over(torch.randn(40, 3, 16, 16)))
    method.loss(crops(method), torch.arange(8)).backward()
    assert all(parameter.grad is not None for parameter in method.parameters())


def test_clusters_follow_from_the_state_and_the_seed_to_the_last_bit():
    method, other = make(), make()
    method.before_epoch(0, over(torch.randn(40, 3, 16, 16)))
    method.loss(crops(method), torch.arange(8))
    other.load_state_dict(method.state_dict())
    for one in (method, other):
        torch.manual_seed(7)
        one.before_epoch(1, over(torch.empty(0)))
    for name, value in method.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])


def test_there_are_no_more_prototypes_than_images():
    given = {"prototypes": 3000, "projector_hidden": 16, "projector_width": 8}
    cut = DeepClusterV2.effective(given, width=64, images=40, batch_size=8)["prototypes"]
    assert cut == 40
    method = make(prototypes=cut)
    method.before_epoch(0, over(torch.randn(40, 3, 16, 16)))
    assert method.loss(crops(method), torch.arange(8)).isfinite()


def test_the_recipe_is_solo_learns():
    # scripts/pretrain/cifar/deepclusterv2.yaml
    wanted = {"prototypes": 3000, "heads": 3, "learning_rate": 0.6, "weight_decay": 1e-6, "projector_hidden": 2048}
    wanted |= {"projector_width": 128, "optimizer": "larc", "trust_coefficient": 0.02, "batch_size": 256}
    assert load("deepclusterv2", 32).published.items() >= wanted.items()
